"""What is known of a head when its KV blocks have been selected."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from .head import verdict_layout
from .rule import aware_layout

__all__ = ["HeadRecord"]

_WORD = 32


class HeadRecord(Component):
    """Collect verdict and results of each head in eight words for its host.

    ====  ==================================================================================
    Word  Contents
    ====  ==================================================================================
    0     bit 0: query-aware; bits 1 to 3: all masses of columns, diagonals, pairs are equal
    1     square of the divergence, see :func:`~qkloom.rtl.index.head.verdict_layout`
    2-4   how many columns, diagonals, pairs are taken; no pairs of a head that is not aware
    5     blocks of a sequence
    6, 7  0
    ====  ==================================================================================

    Parameters
    ----------
    blocks : int
        Most blocks of a sequence.
    count_width, total_width : int
        Bits of what results have.

    Members
    -------
    verdict : In(stream)
        :func:`~qkloom.rtl.index.head.verdict_layout`.
    result : In(stream)
        ``count``, ``mass``, ``total``, ``flat`` of columns, of diagonals, and of the pairs of a
        query-aware head.
    aware : Out(stream)
        :func:`~qkloom.rtl.index.rule.aware_layout` of each head, as soon as it is known.
    o : Out(stream)
        ``words`` of each head. The next verdict is taken when they have been.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, count_width: int, total_width: int = 32) -> None:
        result = {"count": count_width, "mass": total_width, "total": total_width, "flat": 1}
        record = {"words": data.ArrayLayout(_WORD, 8)}
        super().__init__(
            {
                "verdict": In(stream.Signature(verdict_layout(blocks))),
                "result": In(stream.Signature(data.StructLayout(result))),
                "aware": Out(stream.Signature(aware_layout(blocks))),
                "o": Out(stream.Signature(data.StructLayout(record))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take a verdict, tell it, take two results or three."""
        m = Module()
        verdict = Signal(self.verdict.payload.shape(), reset_less=True)
        flat = Signal(3, reset_less=True)
        counts = Signal(data.ArrayLayout(_WORD, 3), reset_less=True)
        kind = Signal(range(3))
        words = self.o.payload.words
        m.d.comb += [
            self.aware.payload.blocks.eq(verdict.blocks),
            self.aware.payload.is_aware.eq(verdict.is_aware),
            words[0].eq(Cat(verdict.is_aware, flat)),
            words[1].eq(verdict.divergence),
            *(words[2 + k].eq(counts[k]) for k in range(3)),
            words[5].eq(verdict.blocks),
        ]
        with m.FSM():
            with m.State("verdict"):
                m.d.comb += self.verdict.ready.eq(1)
                m.d.sync += [verdict.eq(self.verdict.payload), kind.eq(0)]
                m.d.sync += [flat.eq(0), counts[2].eq(0)]
                with m.If(self.verdict.valid):
                    m.next = "tell"
            with m.State("tell"):
                m.d.comb += self.aware.valid.eq(1)
                with m.If(self.aware.ready):
                    m.next = "results"
            with m.State("results"):
                m.d.comb += self.result.ready.eq(1)
                with m.If(self.result.valid):
                    m.d.sync += kind.eq(kind + 1)
                    for k in range(3):
                        with m.If(kind == k):
                            m.d.sync += flat[k].eq(self.result.payload.flat)
                            m.d.sync += counts[k].eq(self.result.payload["count"])
                    with m.If(kind == Mux(verdict.is_aware, 2, 1)):
                        m.next = "record"
            with m.State("record"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "verdict"
        return m
