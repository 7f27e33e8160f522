"""Outputs on their way from the lanes to memory."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Write, WriteManager
from ..check import check_count
from ..component import Component
from ..stream import Queue, connect_stream
from .collect import Collector
from .store import Storer, place_layout

__all__ = ["OutputMover"]

BURST = 16
"""Beats that a lane's outputs are collected to."""


class OutputMover(Component):
    """Write the outputs of every query block to its place in memory.

    ::

        i --> collector --> storer --+--> manager 0 --> bus 0
                               ^     +--> ...
                            places

    Parameters
    ----------
    item : StructLayout
        What lanes put out: ``row``, elements, and ``last`` of a query block.
    n_lanes, n_channels : int
        Lanes; channels.
    element_width : int
        Bits of an element in memory.
    data_width, address_width : int
        Bits of a beat and of an address.

    Members
    -------
    i : In(stream)
        ``index``: a lane, ``item``: outputs.
    places : In(stream)
        ``to``: a lane, ``item``: :func:`~qkloom.rtl.mover.store.place_layout`.
    bus : n_channels buses, out
        To memory.
    written : Out(n_channels)
        A query block is in memory.
    halt : In(1)
        Begin no write any more.
    idle : Out(1)
        No write is on its way.
    failed : Out(2)
        The first response of a channel that was no OKAY; 0 if there was none.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or items do not divide beats.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        item: data.StructLayout,
        n_lanes: int,
        n_channels: int,
        element_width: int,
        data_width: int,
        address_width: int = 64,
    ) -> None:
        check_count("Number of lanes", n_lanes)
        self._n_channels = check_count("Number of channels", n_channels)
        row: Any = item.members["row"]
        if data_width % (row.length * check_count("Element width", element_width)):
            raise ValueError(
                f"{row.length} elements of {element_width} bits must divide a beat of {data_width}"
            )
        self._bus = {"data_width": data_width, "address_width": address_width}
        self._collector: dict[str, Any] = dict(
            item=item,
            n_lanes=n_lanes,
            element_width=element_width,
            data_width=data_width,
            beats=BURST,
        )
        self._storer = dict(n_lanes=n_lanes, n_channels=n_channels, beats=BURST, **self._bus)
        place = place_layout(n_channels=n_channels, address_width=address_width)
        tagged = data.StructLayout({"index": range(n_lanes), "item": item})
        addressed = data.StructLayout({"to": range(n_lanes), "item": place})
        super().__init__(
            {
                "i": In(stream.Signature(tagged)),
                "places": In(stream.Signature(addressed)),
                "bus": Out(AXI4Write(**self._bus)).array(n_channels),
                "written": Out(n_channels),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect collector, storer and managers."""
        m = Module()
        m.submodules.collector = collector = Collector(**self._collector)
        m.submodules.storer = storer = Storer(**self._storer)
        m.submodules.beats = beats = Queue(shape=collector.data.payload.shape(), depth=2)
        connect_stream(m, wiring.flipped(self.i), collector.i)
        connect_stream(m, wiring.flipped(self.places), storer.places)
        connect_stream(m, collector.chunks, storer.chunks)
        connect_stream(m, collector.data, beats.i)
        connect_stream(m, beats.o, storer.data)
        idle = Signal(self._n_channels)
        failures = Signal(data.ArrayLayout(2, self._n_channels))
        for k in range(self._n_channels):
            m.submodules[f"manager_{k}"] = manager = WriteManager(
                longest=BURST, burst=BURST, ahead=2 * BURST, **self._bus
            )
            connect_stream(m, storer.commands[k], manager.i)
            connect_stream(m, storer.beats[k], manager.data)
            wiring.connect(m, manager.bus, wiring.flipped(self.bus[k]))
            m.d.comb += [
                storer.done[k].eq(manager.done),
                manager.halt.eq(self.halt),
                idle[k].eq(manager.idle),
                failures[k].eq(manager.failed),
            ]
        m.d.comb += [self.written.eq(storer.written), self.idle.eq(idle.all())]
        m.d.comb += self.failed.eq(reduce(or_, failures))
        return m
