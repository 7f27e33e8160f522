"""Several managers that read through one bus."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream import Merge, RegisterSlice, connect_stream
from .signature import AXI4Read

__all__ = ["ReadShare"]


class ReadShare(Component):
    """Let ``n`` managers read through one bus, told apart by their IDs.

    Addresses take turns; what arrives goes to the manager that its ID names, in whatever order the
    memory answers different IDs, beat by beat if it likes. It costs a cycle of latency each way.

    Parameters
    ----------
    n : int
        Number of managers.
    data_width, address_width : int
        Bits of a beat and of an address.
    id_width : int
        Bits of an ID of the bus, enough to tell the managers apart.

    Members
    -------
    i : n AXI4Read, in
        Of the managers; they take what arrives whenever it comes.
    o : Out(AXI4Read)
        To memory.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or IDs are too short.
    """

    def __init__(self, *, n: int, data_width: int, address_width: int = 64, id_width: int) -> None:
        self._n = check_count("Number of managers", n)
        if ceil_log2(n) > id_width:
            raise ValueError(f"ID width must be at least {ceil_log2(n)} for {n}, not {id_width}")
        widths = {"data_width": data_width, "address_width": address_width}
        super().__init__(
            {
                "i": In(AXI4Read(**widths)).array(n),
                "o": Out(AXI4Read(**widths, id_width=id_width)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Merge addresses; route beats."""
        m = Module()
        asked = self.i[0].ar.payload.shape()
        m.submodules.merge = merge = Merge(shape=asked, n=self._n)
        m.submodules.addresses = addresses = RegisterSlice(shape=self.o.ar.payload.shape())
        m.submodules.beats = beats = RegisterSlice(shape=self.o.r.payload.shape(), mode="forward")
        connect_stream(m, addresses.o, wiring.flipped(self.o.ar))
        connect_stream(m, wiring.flipped(self.o.r), beats.i)
        m.d.comb += [
            addresses.i.valid.eq(merge.o.valid),
            merge.o.ready.eq(addresses.i.ready),
            addresses.i.payload.id.eq(merge.o.payload.index),
            beats.o.ready.eq(1),
        ]
        for name in ("addr", "len", "size", "burst"):
            m.d.comb += Value.cast(addresses.i.payload[name]).eq(
                Value.cast(merge.o.payload.item[name])
            )
        here = Signal(self._n)
        m.d.comb += here.eq(1 << beats.o.payload.id)
        for k, manager in enumerate(self.i):
            connect_stream(m, wiring.flipped(manager.ar), merge.i[k])
            m.d.comb += manager.r.valid.eq(beats.o.valid & here[k])
            for name in ("data", "resp", "last"):
                m.d.comb += Value.cast(manager.r.payload[name]).eq(
                    Value.cast(beats.o.payload[name])
                )
        return m
