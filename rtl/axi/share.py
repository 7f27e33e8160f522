"""Several managers on one bus, told apart by ID."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream.connect import connect_stream
from ..stream.fork import Fork
from ..stream.gather import Gather
from ..stream.queue import Queue
from ..stream.slice import RegisterSlice
from .signature import AXI4Read, AXI4Write

__all__ = ["ReadShare", "WriteShare"]

_BEATS = 8
"""Beats between managers and W; more than are on their way when W stops."""


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
        request = _merge(m, [manager.ar for manager in self.manager], bus.ar)
        connect_stream(m, request, wiring.flipped(bus.ar))
        _return(m, bus.r, [manager.r for manager in self.manager])
        return m


class WriteShare(Component):
    """Let ``n`` managers write through one bus, in turn.

    The number of a manager is the ID of its bursts. Data follow in the order of bursts, which AXI4
    asks for (IHI 0022, A5.4): a manager that begins a burst must have its data at hand, as
    :class:`~qkloom.rtl.axi.write.WriteManager` has. W waits for nothing that AW does. An answer
    that its manager does not take stops the bus.

    AW is one cycle later than its manager's, two if it is another one's turn; W goes through a
    queue, without a gap between bursts; rate 1. No path crosses from managers to AW or W. B goes
    through, without a register. One manager has wires.

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
        request = _merge(m, [manager.aw for manager in self.manager], bus.aw)
        m.submodules.fork = fork = Fork(shape=bus.aw.payload.shape(), n=2)
        connect_stream(m, request, fork.i)
        connect_stream(m, fork.o[0], wiring.flipped(bus.aw))
        # Whose turn it is on W: one bit set, in a register.
        # Two bursts that are asked for before their data are written leave no gap.
        m.submodules.order = order = RegisterSlice(shape=unsigned(self._n))
        m.d.comb += [
            order.i.valid.eq(fork.o[1].valid),
            order.i.payload.eq(Cat(fork.o[1].payload.id == k for k in range(self._n))),
            fork.o[1].ready.eq(order.i.ready),
        ]
        m.submodules.turns = turns = Turns(n=self._n)
        m.d.comb += [
            turns.turn.eq(order.o.payload),
            turns.valid.eq(Cat(manager.w.valid for manager in self.manager)),
            turns.last.eq(Cat(manager.w.payload.last for manager in self.manager)),
        ]

        # The beat of the one whose turn it is takes a step without an enable: a gate for hundreds
        # of registers would be slow. It steps when the queue has room for it and for two before it.
        m.submodules.beats = beats = Queue(shape=bus.w.payload.shape(), depth=_BEATS)
        has_room = Signal()
        accepts = Signal()
        m.d.comb += accepts.eq(order.o.valid & has_room)
        chosen = []
        for k, manager in enumerate(self.manager):
            m.d.comb += manager.w.ready.eq(order.o.payload[k] & accepts)
            item = Value.cast(manager.w.payload)
            chosen.append(item & order.o.payload[k].replicate(len(item)))
        step = Signal.like(bus.w.payload, reset_less=True)
        has_step = Signal()
        m.d.comb += [
            order.o.ready.eq(turns.is_last & has_room),
            beats.i.valid.eq(has_step),
            beats.i.payload.eq(step),
        ]
        m.d.sync += [
            has_room.eq(beats.level <= _BEATS - 3),
            has_step.eq(turns.is_valid & accepts),
            Value.cast(step).eq(reduce(or_, chosen)),
        ]
        connect_stream(m, beats.o, wiring.flipped(bus.w))
        _return(m, bus.b, [manager.b for manager in self.manager])
        return m


class Turns(Component):
    """What the one whose turn it is has: a module of its own, so that it stays short.

    Parameters
    ----------
    n : int
        How many take turns.

    Members
    -------
    turn : In(n)
        One bit set.
    valid, last : In(n)
        Who has something, and whose is the last of its kind.
    is_valid, is_last : Out(1)
        The one has something; it is the last.
    """

    def __init__(self, *, n: int) -> None:
        ports = {"turn": In(n), "valid": In(n), "last": In(n)}
        super().__init__({**ports, "is_valid": Out(1), "is_last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Two LUTs each, up to twelve."""
        m = Module()
        m.d.comb += [
            self.is_valid.eq((self.turn & self.valid).any()),
            self.is_last.eq((self.turn & self.valid & self.last).any()),
        ]
        return m


def _merge(m: Module, channels: list[Any], bus: Any) -> Any:
    """Merge the address channels of managers; return the stream, from a register."""
    plain = channels[0].payload.shape()
    m.submodules.merge = merge = Gather(shape=plain, n=len(channels))
    m.submodules.request = request = RegisterSlice(shape=bus.payload.shape())
    for channel, i in zip(channels, merge.i, strict=True):
        connect_stream(m, wiring.flipped(channel), i)
    for name in plain.members:
        inner = merge.o.payload.index if name == "id" else merge.o.payload.item[name]
        m.d.comb += request.i.payload[name].eq(inner)
    m.d.comb += [request.i.valid.eq(merge.o.valid), merge.o.ready.eq(request.i.ready)]
    return request.o


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
