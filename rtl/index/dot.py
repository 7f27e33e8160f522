"""Dot products of one vector with many that stream by."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..formats import I8, Fixed, ceil_log2
from ..stream import Queue
from ..stream.level import count_level
from .dot_pipe import DotPipeline

__all__ = ["DotProduct", "beats_of", "vector_layout"]


def vector_layout(element: Fixed, width: int) -> data.StructLayout:
    """Return a beat of a vector, and of several: ``last`` of its own, ``done`` of all of them."""
    return data.StructLayout(
        {"x": data.ArrayLayout(element, width), "last": 1, "done": 1},
    )


def beats_of(*, width: int, head_dim: int) -> int:
    """Return the most beats of a vector.

    Raises
    ------
    TypeError, ValueError
        When a number is not a positive integer, or ``head_dim`` no multiple of ``width``.
    """
    check_count("Width", width)
    check_count("Head dimension", head_dim)
    if head_dim % width:
        raise ValueError(
            f"Head dimension must be a multiple of the width, {width}, not {head_dim!r}"
        )
    return head_dim // width


class DotProduct(Component):
    """Multiply a held vector by every vector that streams by, ``width`` elements a cycle.

    ::

        i_held --> two vectors -----+
                                    v
        i -------> register --> products, tree, sum over the beats --> queue --> o

    One vector is held while the next one loads; the beat with ``done`` is the last that meets the
    first of them. Nothing inside can stall: a beat enters while there is room for its sum.

    One beat a cycle. From a vector's last beat to its sum ``latency`` cycles.

    Parameters
    ----------
    width : int
        Elements of a beat.
    head_dim : int
        Most elements of a vector; a multiple of ``width``. Every vector has as many beats as the
        one that is held.
    held, streaming : Fixed
        Elements, integers; a product takes a DSP slice (:class:`~qkloom.rtl.product.Product`).

    Members
    -------
    i_held : In(stream)
        Beats of vectors to hold: :func:`vector_layout`; ``done`` says nothing. Ready while fewer
        than two are inside.
    i : In(stream)
        Beats of vectors: :func:`vector_layout`. Ready when the vector to multiply by is there.
    o : Out(stream)
        Sums, in order: signed, exact.
    sum_width : int
        Bits of a sum.
    latency : int
        Cycles from the last beat of a vector to ``o``.

    Raises
    ------
    TypeError, ValueError
        When a size is not a positive integer, ``head_dim`` no multiple of ``width``, or a format
        no integer that a product takes.
    """

    def __init__(
        self, *, width: int, head_dim: int, held: Fixed = I8, streaming: Fixed = I8
    ) -> None:
        self._beats = beats_of(width=width, head_dim=head_dim)
        self._width, self._held, self._streaming = width, held, streaming
        self._pipeline: dict[str, Any] = {
            "width": width,
            "beats": self._beats,
            "a": held,
            "b": streaming,
        }
        pass_over(pipeline := DotPipeline(**self._pipeline))
        self.sum_width = pipeline.sum_width
        self._inner = 1 + pipeline.latency
        super().__init__(
            {
                "i_held": In(stream.Signature(vector_layout(held, width))),
                "i": In(stream.Signature(vector_layout(streaming, width))),
                "o": Out(stream.Signature(signed(self.sum_width))),
            }
        )

    @property
    def latency(self) -> int:
        """Register, pipeline, queue."""
        return self._inner + 2

    def elaborate(self, platform: object) -> Module:
        """Build the vectors held, the products, and the sums."""
        m = Module()
        depth = 1 << ceil_log2(self._beats)
        w_beat = Signal(range(max(depth, 2)))
        r_beat = Signal(range(max(depth, 2)))
        w_half = Signal()
        r_half = Signal()
        loads = Signal()
        enters = Signal()

        # Vectors held: filled and left in order.
        came = Signal()
        left = Signal()
        n_held = Signal(range(3))
        vectors = count_level(m, n_held, most=2, comes=came, goes=left, name="held_")
        held, moving = self.i_held.payload, self.i.payload
        m.d.comb += [
            self.i_held.ready.eq(vectors.has_room),
            loads.eq(self.i_held.valid & vectors.has_room),
            came.eq(loads & held.last),
        ]
        with m.If(loads):
            m.d.sync += [
                w_beat.eq(Mux(held.last, 0, w_beat + 1)),
                w_half.eq(w_half ^ held.last),
            ]
        element, bits = self._held, ceil_log2(self._beats)
        row = data.ArrayLayout(element, self._width)
        m.submodules.memory = memory = Memory(shape=row, depth=2 * depth, init=[])
        w_port, r_port = memory.write_port(), memory.read_port()
        m.d.comb += [
            w_port.en.eq(loads),
            w_port.addr.eq(Cat(w_beat[:bits], w_half)),
            w_port.data.eq(held.x),
            r_port.addr.eq(Cat(r_beat[:bits], r_half)),
        ]

        # A sum has a place in the queue from its vector's last beat on.
        n_places = self._inner + 3
        m.submodules.queue = queue = Queue(
            shape=signed(self.sum_width), depth=n_places, registered=True
        )
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        n_sums = Signal(range(n_places + 1))
        places = count_level(
            m,
            n_sums,
            most=n_places,
            comes=enters & moving.last,
            goes=self.o.valid & self.o.ready,
            name="places_",
        )
        m.d.comb += [
            self.i.ready.eq(vectors.has_some & places.has_room),
            enters.eq(self.i.valid & self.i.ready),
            left.eq(enters & moving.done),
        ]
        with m.If(enters):
            m.d.sync += [
                r_beat.eq(Mux(moving.last, 0, r_beat + 1)),
                r_half.eq(r_half ^ moving.done),
            ]

        # What both memories say a cycle later is multiplied; then nothing stops.
        row_in = Signal(data.ArrayLayout(self._streaming, self._width), reset_less=True)
        is_first = Signal(reset_less=True)
        is_last = Signal(reset_less=True)
        entered = Signal()
        m.d.sync += [
            row_in.eq(moving.x),
            is_first.eq(r_beat == 0),
            is_last.eq(moving.last),
            entered.eq(enters),
        ]
        m.submodules.pipeline = pipeline = DotPipeline(**self._pipeline)
        beat = pipeline.i.payload
        m.d.comb += [
            pipeline.i.valid.eq(entered),
            beat.a.eq(r_port.data),
            beat.b.eq(row_in),
            beat.first.eq(is_first),
            beat.last.eq(is_last),
            queue.i.valid.eq(pipeline.o.valid),
            queue.i.payload.eq(pipeline.o.payload.sum),
        ]
        return m
