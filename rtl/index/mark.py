"""Vectors told apart in a stream of beats."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import I8, Fixed
from .dot import vector_layout

__all__ = ["VectorMarker", "extent_layout"]


def extent_layout(*, vectors: int, beats: int) -> data.StructLayout:
    """Return how many vectors come, of how many beats each, and whether nobody wants them."""
    return data.StructLayout({"n": range(vectors + 1), "beats": range(beats + 1), "dropped": 1})


class VectorMarker(Component):
    """Say which beats end a vector, and which one ends all of them; or drop them.

    Latency 0, one beat a cycle; 1 cycle between two extents. ``o.valid`` and ``o.payload`` come
    from ``i``, and ``i.ready`` from ``o.ready``.

    Parameters
    ----------
    width : int
        Elements of a beat.
    vectors, beats : int
        Most vectors of an extent, and most beats of a vector.
    element : Fixed
        An element.

    Members
    -------
    extent : In(stream)
        What comes: :func:`extent_layout`. Without vectors or without beats, nothing does.
    i : In(stream)
        Beats.
    o : Out(stream)
        The beats that are not dropped: :func:`~qkloom.rtl.index.dot.vector_layout`.

    Raises
    ------
    TypeError, ValueError
        When a size is not a positive integer.
    """

    def __init__(self, *, width: int, vectors: int, beats: int, element: Fixed = I8) -> None:
        check_count("Width", width)
        check_count("Number of vectors", vectors)
        check_count("Number of beats", beats)
        super().__init__(
            {
                "extent": In(stream.Signature(extent_layout(vectors=vectors, beats=beats))),
                "i": In(stream.Signature(data.ArrayLayout(element, width))),
                "o": Out(stream.Signature(vector_layout(element, width))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count beats and vectors."""
        m = Module()
        extent, o = self.extent.payload, self.o.payload
        is_busy = Signal()
        dropped = Signal()
        left = Signal.like(extent.n)
        beats = Signal.like(extent.beats, reset_less=True)
        beat = Signal.like(extent.beats, reset_less=True)  # from 1 on
        is_only = Signal(reset_less=True)  # a vector has one beat
        is_last = Signal(reset_less=True)
        is_final = Signal(reset_less=True)  # the last vector
        moves = Signal()
        m.d.comb += [
            self.extent.ready.eq(~is_busy),
            o.x.eq(self.i.payload),
            o.last.eq(is_last),
            o.done.eq(o.last & is_final),
            self.o.valid.eq(self.i.valid & is_busy & ~dropped),
            self.i.ready.eq(is_busy & (dropped | self.o.ready)),
            moves.eq(self.i.valid & self.i.ready),
        ]
        with m.If(moves):
            m.d.sync += [
                beat.eq(Mux(is_last, 1, beat + 1)),
                is_last.eq(Mux(is_last, is_only, beat + 1 == beats)),
            ]
        with m.If(moves & is_last):
            m.d.sync += [left.eq(left - 1), is_final.eq(left == 2)]
        with m.If(moves & o.done):
            m.d.sync += is_busy.eq(0)
        with m.If(self.extent.valid & ~is_busy):
            m.d.sync += [
                is_busy.eq((extent.n != 0) & (extent.beats != 0)),
                dropped.eq(extent.dropped),
                left.eq(extent.n),
                is_final.eq(extent.n == 1),
                beats.eq(extent.beats),
                beat.eq(1),
                is_only.eq(extent.beats == 1),
                is_last.eq(extent.beats == 1),
            ]
        return m
