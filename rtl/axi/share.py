"""Several managers on one bus, told apart by ID."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream.connect import connect_stream
from ..stream.gather import Gather
from ..stream.queue import Queue
from ..stream.slice import RegisterSlice
from .signature import AXI4Read, AXI4Write

__all__ = ["ReadShare", "WriteShare"]

_ORDER = 2
"""Bursts of all managers that are asked for before their data are written: two leave no gap."""


class ReadShare(Component):
    """Let ``n`` managers read through one bus, in turn.

    The number of a manager is the ID of its bursts, so that answers may come in any order among
    managers, beat by beat. An answer that its manager does not take stops the bus: managers should
    always take them, as :class:`~qkloom.rtl.axi.read.ReadManager` does.

    AR comes from a register, one cycle later, two if it is another manager's turn; rate 1. R goes
    through, without a register. One manager has wires.

    Parameters
    ----------
    n : int
        Number of managers.
    data_width, address_width : int
        Bits of a beat and of an address.

    Members
    -------
    manager : In(AXI4Read), n of them
        Each with one ID, 0.
    bus : Out(AXI4Read)
        ``id_width`` is what tells managers apart, at least 1.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer, or a width not one of a bus.
    """

    def __init__(self, *, n: int, data_width: int, address_width: int = 64) -> None:
        self._n = check_count("Number of managers", n)
        shape = dict(address_width=address_width, data_width=data_width)
        super().__init__(
            {
                "manager": In(AXI4Read(**shape)).array(n),
                "bus": Out(AXI4Read(**shape, id_width=_id_width(n))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Merge requests; hand answers back by ID."""
        m = Module()
        bus = self.bus
        if self._n == 1:
            _join(m, self.manager[0].ar, bus.ar)
            _join(m, bus.r, self.manager[0].r)
            return m
        requests = _merge(m, [manager.ar for manager in self.manager], bus.ar)
        m.d.comb += [
            requests.to.valid.eq(requests.merged.valid),
            requests.merged.ready.eq(requests.to.ready),
        ]
        _return(m, bus.r, [manager.r for manager in self.manager])
        return m


class WriteShare(Component):
    """Let ``n`` managers write through one bus, in turn.

    The number of a manager is the ID of its bursts. Data follow in the order of bursts, which AXI4
    asks for (IHI 0022, A5.4): a manager that begins a burst must have its data at hand, as
    :class:`~qkloom.rtl.axi.write.WriteManager` has. W waits for nothing that AW does. An answer
    that its manager does not take stops the bus.

    AW comes from a register, one cycle later, two if it is another manager's turn; W too, without a
    gap between bursts; rate 1. B goes through, without a register. One manager has wires.

    Parameters
    ----------
    n : int
        Number of managers.
    data_width, address_width : int
        Bits of a beat and of an address.

    Members
    -------
    manager : In(AXI4Write), n of them
        Each with one ID, 0.
    bus : Out(AXI4Write)
        ``id_width`` is what tells managers apart, at least 1.

    Raises
    ------
    TypeError, ValueError
        When ``n`` is not a positive integer, or a width not one of a bus.
    """

    def __init__(self, *, n: int, data_width: int, address_width: int = 64) -> None:
        self._n = check_count("Number of managers", n)
        shape = dict(address_width=address_width, data_width=data_width)
        super().__init__(
            {
                "manager": In(AXI4Write(**shape)).array(n),
                "bus": Out(AXI4Write(**shape, id_width=_id_width(n))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Merge requests, and let data of the same managers follow."""
        m = Module()
        bus = self.bus
        if self._n == 1:
            _join(m, self.manager[0].aw, bus.aw)
            _join(m, self.manager[0].w, bus.w)
            _join(m, bus.b, self.manager[0].b)
            return m
        # Whose turn it is on W: one bit set, from a register.
        m.submodules.order = order = Queue(shape=self._n, depth=_ORDER)
        m.submodules.data = beat = RegisterSlice(shape=bus.w.payload.shape())
        requests = _merge(m, [manager.aw for manager in self.manager], bus.aw)
        m.d.comb += [
            requests.to.valid.eq(requests.merged.valid & order.i.ready),
            order.i.valid.eq(requests.merged.valid & requests.to.ready),
            requests.merged.ready.eq(requests.to.ready & order.i.ready),
            order.i.payload.eq(Cat(requests.index == k for k in range(self._n))),
        ]
        turn = Signal(self._n)
        m.d.comb += turn.eq(order.o.payload & order.o.valid.replicate(self._n))
        chosen = []
        for bit, manager in zip(turn, self.manager, strict=True):
            m.d.comb += manager.w.ready.eq(bit & beat.i.ready)
            item = Value.cast(manager.w.payload)
            chosen.append(item & bit.replicate(len(item)))
        m.d.comb += [
            Value.cast(beat.i.payload).eq(reduce(or_, chosen)),
            beat.i.valid.eq((turn & Cat(manager.w.valid for manager in self.manager)).any()),
            order.o.ready.eq(beat.i.valid & beat.i.ready & beat.i.payload.last),
        ]
        connect_stream(m, beat.o, wiring.flipped(bus.w))
        _return(m, bus.b, [manager.b for manager in self.manager])
        return m


class _Requests:
    """Requests on their way to the bus.

    Members
    -------
    merged : stream
        From all managers.
    index : Value
        Whose the request in ``merged`` is.
    to : stream
        Where it goes; its payload is connected, its handshake is the caller's to connect.
    """

    def __init__(self, merged: Any, to: Any) -> None:
        self.merged, self.index, self.to = merged, merged.payload.index, to


def _merge(m: Module, channels: list[Any], bus: Any) -> _Requests:
    """Merge the address channels of managers into that of a bus, through a register."""
    plain = channels[0].payload.shape()
    m.submodules.merge = merge = Gather(shape=plain, n=len(channels))
    m.submodules.request = request = RegisterSlice(shape=bus.payload.shape())
    for channel, i in zip(channels, merge.i, strict=True):
        connect_stream(m, wiring.flipped(channel), i)
    for name in plain.members:
        inner = merge.o.payload.index if name == "id" else merge.o.payload.item[name]
        m.d.comb += request.i.payload[name].eq(inner)
    connect_stream(m, request.o, wiring.flipped(bus))
    return _Requests(merge.o, request.i)


def _return(m: Module, bus: Any, channels: list[Any]) -> None:
    """Hand each answer of a bus to the manager that its ID names."""
    takes = []
    for k, channel in enumerate(channels):
        is_theirs = Signal(name=f"is_for_{k}")
        m.d.comb += [
            is_theirs.eq(bus.payload.id == k),
            channel.valid.eq(bus.valid & is_theirs),
        ]
        takes.append(is_theirs & channel.ready)
        for name in bus.payload.shape().members:
            m.d.comb += channel.payload[name].eq(0 if name == "id" else bus.payload[name])
    m.d.comb += bus.ready.eq(reduce(or_, takes))


def _join(m: Module, src: Any, dst: Any) -> None:
    """Connect two streams of the component itself."""
    m.d.comb += [
        dst.valid.eq(src.valid),
        dst.payload.eq(src.payload),
        src.ready.eq(dst.ready),
    ]


def _id_width(n: int) -> int:
    """Return the bits that tell ``n`` managers apart."""
    return max(ceil_log2(n), 1)
