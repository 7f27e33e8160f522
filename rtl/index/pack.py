"""From bits, one after the other, to words of a mask."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import ceil_log2
from .scan import check_word_width, word_layout

__all__ = ["WordPacker"]


class WordPacker(Component):
    """Pack bits into words, the first one lowest; what a row does not fill is 0.

    A bit a cycle. A word comes a cycle after its last bit, from registers; ``i.ready`` comes from
    ``o.ready``.

    Parameters
    ----------
    word_width : int
        Bits of a word; a power of two, at least 4.

    Members
    -------
    i : In(stream)
        ``bit``, and whether it is the ``last`` of a row.
    o : Out(stream)
        Words of the rows: :func:`~qkloom.rtl.index.scan.word_layout`.

    Raises
    ------
    TypeError, ValueError
        When the width is not a positive integer, or no such power of two.
    """

    def __init__(self, *, word_width: int = 32) -> None:
        self._width = check_word_width(word_width)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"bit": 1, "last": 1}))),
                "o": Out(stream.Signature(word_layout(word_width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Put a bit where it belongs; the first one clears the others."""
        m = Module()
        i = self.i.payload
        at = Signal(ceil_log2(self._width))
        begins = Signal(init=1)
        closes = Signal()
        word = Signal(self._width, reset_less=True)
        is_last = Signal(reset_less=True)
        has_word = Signal()
        m.d.comb += [
            closes.eq(i.last | at.all()),
            self.o.valid.eq(has_word),
            self.o.payload.mask.eq(word),
            self.o.payload.last.eq(is_last),
            self.i.ready.eq(~has_word | self.o.ready),
        ]
        with m.If(self.i.ready):
            m.d.sync += has_word.eq(self.i.valid & closes)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [begins.eq(closes), at.eq(Mux(i.last, 0, at + 1)), is_last.eq(i.last)]
            for k in range(self._width):
                m.d.sync += word[k].eq(Mux(at == k, i.bit, word[k] & ~begins))
        return m
