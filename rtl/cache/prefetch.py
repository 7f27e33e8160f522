"""Loads of two layers: the layer that runs first, the next one in what time is left."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..stream import Queue
from .place import place_layout, request_layout

__all__ = ["LoadOrder", "arrival_layout", "load_layout", "ready_layout"]


def load_layout(*, heads: int, blocks: int, k: int) -> data.StructLayout:
    """Return a load: its block and slot, and which of two layers (``side``) it is for."""
    members = request_layout(heads=heads, blocks=blocks, k=k).members
    return data.StructLayout({**members, "side": 1})


def arrival_layout() -> data.StructLayout:
    """Return what is said of a load that is over: whether it ``failed``."""
    return data.StructLayout({"failed": 1})


def ready_layout() -> data.StructLayout:
    """Return which layer may run, by its ``side``; ``failed``: a load of it did."""
    return data.StructLayout({"side": 1, "failed": 1})


class LoadOrder(Component):
    """Pass on loads of two layers, those of the older one first, and say when its blocks are there.

    SparDA, runtime in decode: blocks are chosen a layer ahead, and load while the layer before
    runs. Layers take the two inputs by turns, beginning with input 0. The older layer is the one
    that runs, or is to run next: its loads are demands. Those of the other input are prefetches.

    ::

        i[0] --+--> choice --> register --> o
        i[1] --+      ^            |
                    turn           +--> sides of loads under way --> counts --> ready
                                                ^
        arrived --------------------------------+

    A load is one block, and is not cut. A demand goes before every prefetch, but for the one that
    is offered already: so while a demand waits at its input, at most one prefetch begins. What has
    begun and has not arrived, at most ``in_flight`` loads, is ahead of it as well. Loads of an
    input stay in order.

    An input is closed from the end that is ``last`` until its layer's turn is over: no layer gets
    two turns ahead. ``ready`` comes when the older layer's lists have ended so and all its loads
    have arrived. With it being taken the layer may run, and the other one is the older. A load that
    failed is told there; then the table of slots has a block that is not in its slot, and the head
    has to begin again, with ``clears``.

    One :class:`~qkloom.rtl.cache.slots.SlotTable` alone asks in the order of layers: route its
    lists to both inputs by turns, by ``last``. A second source, such as the first layer's own
    choice for another sequence, may come whenever it likes.

    A load a cycle, latency 1; ``ready`` comes a cycle after the last arrival.

    Parameters
    ----------
    heads, blocks, k : int
        As of the table.
    in_flight : int
        Most loads under way, that which is offered included.

    Members
    -------
    i : 2 streams, in
        Lists of loads: :func:`~qkloom.rtl.cache.place.place_layout`.
    o : Out(stream)
        Loads: :func:`load_layout`. Whoever takes one begins it.
    arrived : In(stream)
        A load is over, an item for each that was taken, in their order: :func:`arrival_layout`.
    ready : Out(stream)
        :func:`ready_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``k`` is 1.
    """

    def __init__(self, *, heads: int, blocks: int, k: int, in_flight: int = 4) -> None:
        sizes = {"heads": heads, "blocks": blocks, "k": k}
        self._in_flight = check_count("Loads under way", in_flight)
        super().__init__(
            {
                "i": In(stream.Signature(place_layout(**sizes))).array(2),
                "o": Out(stream.Signature(load_layout(**sizes))),
                "arrived": In(stream.Signature(arrival_layout())),
                "ready": Out(stream.Signature(ready_layout())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Choose, remember for whom it is, and count what is under way."""
        m = Module()
        m.submodules.sides = sides = Queue(shape=1, depth=self._in_flight)
        load = Signal(self.o.payload.shape(), reset_less=True)
        is_offered = Signal()
        turn = Signal()
        is_closed = Signal(2)
        failed = Signal(2)
        wants = Signal(2)
        side = Signal()
        moves = Signal()
        loads = Signal()
        arrives = Signal()
        m.d.comb += [
            wants.eq(Cat(i.valid & ~i.payload.end for i in self.i) & ~is_closed),
            side.eq(Mux(wants.bit_select(turn, 1), turn, ~turn)),
            moves.eq((~is_offered | self.o.ready) & sides.i.ready),
            loads.eq(moves & wants.any()),
            sides.i.valid.eq(loads),
            sides.i.payload.eq(side),
            self.o.payload.eq(load),
            self.o.valid.eq(is_offered),
            # What is offered has not begun, and cannot arrive.
            self.arrived.ready.eq(sides.o.valid & (~is_offered | (sides.level != 1))),
            arrives.eq(self.arrived.valid & self.arrived.ready),
            sides.o.ready.eq(arrives),
        ]
        with m.If(loads):
            m.d.sync += is_offered.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += is_offered.eq(0)
        with m.If(loads):
            m.d.sync += load.side.eq(side)
            for name in ("head", "block", "slot"):
                of = (i.payload[name] for i in self.i)
                m.d.sync += load[name].eq(Mux(side, *reversed(list(of))))

        is_done = Signal(2)
        for k, i in enumerate(self.i):
            m.d.comb += i.ready.eq(~is_closed[k] & (i.payload.end | (moves & (side == k))))
            under_way = Signal(range(self._in_flight + 1), name=f"under_way_{k}")
            begins = Signal(name=f"begins_{k}")
            ends = Signal(name=f"ends_{k}")
            m.d.comb += [
                begins.eq(loads & (side == k)),
                ends.eq(arrives & (sides.o.payload == k)),
                is_done[k].eq(is_closed[k] & (under_way == 0)),
            ]
            m.d.sync += under_way.eq((under_way + begins - ends)[: len(under_way)])
            with m.If(ends & self.arrived.payload.failed):
                m.d.sync += failed[k].eq(1)
            with m.If(i.valid & i.ready & i.payload.end & i.payload.last):
                m.d.sync += is_closed[k].eq(1)
            with m.If(self.ready.valid & self.ready.ready & (turn == k)):
                m.d.sync += [is_closed[k].eq(0), failed[k].eq(0), turn.eq(~turn)]
        m.d.comb += [
            self.ready.valid.eq(is_done.bit_select(turn, 1)),
            self.ready.payload.side.eq(turn),
            self.ready.payload.failed.eq(failed.bit_select(turn, 1)),
        ]
        return m
