"""Compressed keys: means of 32 tokens, every 16 tokens (InfLLM-V2, arXiv 2509.24663)."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import I8, Integer, ceil_log2, wrap
from ..stream import WideSlice, connect_stream
from .dot import beats_of, vector_layout

__all__ = ["KERNEL", "STRIDE", "KeyCompressor"]

KERNEL, STRIDE = 32, 16
"""Tokens of a compressed key, and from one to the next: two halves."""

_SUM = signed(12)
"""A half, rounding included: 16 numbers of 8 bits, and 8."""


class KeyCompressor(Component):
    """Take the mean of keys over each complete window of 32 tokens that begins at a 16th one.

    ::

        i --> slice --> + --> half so far, in a memory
                        |
                        +---> + half before, in a memory --> >> 5 --> slice --> o

    A window is two halves of 16 tokens, and so a half is added up once: exact sums of 12 bits, of
    which two make a mean, ``(sum + 16) >> 5``: one rounding, to nearest, ties up. Half of these 16
    are in each half. A mean of int8 is int8 without saturation.

    One beat a cycle. From the last beat of a window to that of its mean 2 cycles. What belongs to
    no complete window gives nothing.

    Parameters
    ----------
    width : int
        Elements of a beat.
    head_dim : int
        Most elements of a key; a multiple of ``width``.

    Members
    -------
    i : In(stream)
        Beats of int8 keys, token after token: :func:`~qkloom.rtl.index.dot.vector_layout`; ``done``
        with the last beat of the last token. All keys up to that have as many beats.
    o : Out(stream)
        Beats of the means, ``last`` of each; ``done`` is 0: that a window was the last one is known
        when it is gone.

    Raises
    ------
    TypeError, ValueError
        When a size is not a positive integer, or ``head_dim`` no multiple of ``width``.
    """

    def __init__(self, *, width: int, head_dim: int) -> None:
        self._beats, self._width = beats_of(width=width, head_dim=head_dim), width
        beat = vector_layout(I8, width)
        super().__init__({"i": In(stream.Signature(beat)), "o": Out(stream.Signature(beat))})

    def elaborate(self, platform: object) -> Module:
        """Add up halves, and put two together."""
        m = Module()
        m.submodules.early = early = WideSlice(shape=self.i.payload.shape())
        m.submodules.late = late = WideSlice(shape=self.o.payload.shape())
        connect_stream(m, wiring.flipped(self.i), early.i)
        connect_stream(m, late.o, wiring.flipped(self.o))
        i, o = early.o.payload, late.i.payload

        beat = Signal(range(max(self._beats, 2)))
        token = Signal(range(STRIDE))
        begins = Signal(init=1)  # the half's first token
        ends = Signal()  # its last one
        has_half = Signal()  # another one is before it
        gives = Signal()
        moves = Signal()
        m.d.comb += [
            gives.eq(ends & has_half),
            late.i.valid.eq(early.o.valid & gives),
            early.o.ready.eq(late.i.ready | ~gives),
            moves.eq(early.o.valid & early.o.ready),
            o.last.eq(i.last),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(i.last, 0, beat + 1))
        with m.If(moves & i.last):
            m.d.sync += [
                token.eq(Mux(i.done, 0, token + 1)),
                begins.eq(i.done | (token == STRIDE - 1)),
                ends.eq(~i.done & (token == STRIDE - 2)),
                has_half.eq(~i.done & (has_half | ends)),
            ]

        # A key has few beats: memories of LUTs, read without a register, so that a beat meets what
        # the one before has left even if it is the same.
        row = data.ArrayLayout(_SUM, self._width)
        depth = max(1 << ceil_log2(self._beats), 2)
        m.submodules.sums = sums = Memory(shape=row, depth=depth, init=[])
        m.submodules.halves = halves = Memory(shape=row, depth=depth, init=[])
        sums_w, sums_r = sums.write_port(), sums.read_port(domain="comb")
        halves_w, halves_r = halves.write_port(), halves.read_port(domain="comb")
        for port in (sums_w, sums_r, halves_w, halves_r):
            m.d.comb += port.addr.eq(beat)
        m.d.comb += [sums_w.en.eq(moves), halves_w.en.eq(moves & ends)]
        for k in range(self._width):
            so_far = Signal(_SUM, name=f"so_far_{k}")
            total = Signal(_SUM, name=f"total_{k}")
            window = Signal(signed(_SUM.width + 1), name=f"window_{k}")
            m.d.comb += [
                so_far.eq(Mux(begins, STRIDE // 2, sums_r.data[k])),
                total.eq(wrap(so_far + i.x[k], Integer(_SUM.width))),
                window.eq(total + halves_r.data[k]),
                o.x[k].eq(wrap(window >> ceil_log2(KERNEL), I8)),
                sums_w.data[k].eq(total),
                halves_w.data[k].eq(total),
            ]
        return m
