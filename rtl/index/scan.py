"""From bit masks to lists: which bits are set, in ascending order."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream import RegisterSlice, connect_stream
from .list import list_layout

__all__ = ["GROUP", "MaskScanner", "word_layout"]

GROUP = 4
"""Bits that are looked at together: what comes after a bit is one LUT behind them."""


def word_layout(word_width: int) -> data.StructLayout:
    """Return a word of a mask; ``last`` is that of the mask's last one."""
    return data.StructLayout({"mask": word_width, "last": 1})


class MaskScanner(Component):
    """Turn the words of a mask, lowest numbers first, into the list of its bits, ascending.

    ::

        i --> slice --> word, groups with bits in it --> slice --> bits of a group --> o

    The first half goes from group to group, and passes over those without a bit; the second one
    from bit to bit. So no path looks at a whole word.

    An entry a cycle; a word without a bit takes one cycle, and so does the end of the list. From a
    word to its first entry 4 cycles. ``o`` comes from registers, but for its handshake.

    Parameters
    ----------
    blocks : int
        Most bits of a mask.
    word_width : int
        Bits of a word; a power of two, at least 4. Of a mask's last word, those beyond ``blocks``
        must be 0.

    Members
    -------
    i : In(stream)
        Words: :func:`word_layout`. As many as a mask has, or fewer: what follows is 0.
    o : Out(stream)
        A list for each mask: :func:`~qkloom.rtl.index.list.list_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or the width no such power of two.
    """

    def __init__(self, *, blocks: int, word_width: int = 32) -> None:
        check_count("Blocks", blocks)
        check_count("Word width", word_width)
        if word_width < GROUP or word_width & word_width - 1:
            raise ValueError(
                f"Word width must be a power of two of at least {GROUP}, not {word_width!r}"
            )
        self._blocks, self._width = blocks, word_width
        super().__init__(
            {
                "i": In(stream.Signature(word_layout(word_width))),
                "o": Out(stream.Signature(list_layout(blocks))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build both halves."""
        m = Module()
        n = self._width // GROUP
        n_words = -(-self._blocks // self._width)
        m.submodules.early = early = RegisterSlice(shape=self.i.payload.shape())
        connect_stream(m, wiring.flipped(self.i), early.i)

        # From group to group. Which ones have bits is found out when the word comes.
        word = Signal(self._width, reset_less=True)
        word_is_last = Signal(reset_less=True)
        number = Signal(range(max(n_words, 2)))  # of the word
        begins = Signal(init=1)  # the word is a mask's first
        left = Signal(n)
        has_word = Signal()
        goes_on = Signal()
        takes = Signal()
        is_lowest = Signal(n)
        rest = Signal(n)
        m.d.comb += [
            is_lowest.eq(Cat(left[k] & ~left[:k].any() for k in range(n))),
            rest.eq(left & ~is_lowest),
        ]
        group = data.StructLayout(
            {
                "bits": GROUP,
                "number": range(max(n_words, 2)),
                "group": range(max(n, 2)),
                "last": 1,
            }
        )
        m.submodules.late = late = RegisterSlice(shape=group)
        chosen = late.i.payload
        is_done = Signal()  # with this word
        m.d.comb += [
            chosen.number.eq(number),
            is_done.eq(~rest.any()),
            chosen.last.eq(is_done & word_is_last),
            late.i.valid.eq(has_word),
            goes_on.eq(has_word & late.i.ready),
            takes.eq(~has_word | (late.i.ready & is_done)),
            early.o.ready.eq(takes),
        ]
        # One of them is the lowest, which a chain of choices would not know.
        bits_of = [word.word_select(k, GROUP) & is_lowest[k].replicate(GROUP) for k in range(n)]
        numbers = [is_lowest[k].replicate(len(chosen.group)) & k for k in range(n)]
        m.d.comb += [
            chosen.bits.eq(reduce(or_, bits_of)),
            chosen.group.eq(reduce(or_, numbers)),
        ]
        with m.If(goes_on):
            m.d.sync += left.eq(rest)
        with m.If(takes):
            m.d.sync += has_word.eq(early.o.valid)
            with m.If(early.o.valid):
                mask = early.o.payload.mask
                m.d.sync += [
                    word.eq(mask),
                    word_is_last.eq(early.o.payload.last),
                    left.eq(Cat(mask.word_select(k, GROUP).any() for k in range(n))),
                    number.eq(Mux(begins, 0, number + 1)),
                    begins.eq(early.o.payload.last),
                ]

        # From bit to bit. A group without one belongs to a word without one.
        bits = Signal(GROUP)
        at = Signal(group)
        has_group = Signal()
        more = Signal()  # another bit in this group
        ends = Signal()  # nothing but the end is left
        moves = Signal()
        lowest = Signal(GROUP)
        m.d.comb += [
            lowest.eq(Cat(bits[k] & ~bits[:k].any() for k in range(GROUP))),
            more.eq((bits & ~lowest).any()),
            ends.eq(has_group & at.last & (bits == 0)),
            self.o.valid.eq(has_group & ((bits != 0) | at.last)),
            self.o.payload.end.eq(ends),
            moves.eq(self.o.ready | ~self.o.valid),
            late.o.ready.eq(moves & ~more & ~(at.last & (bits != 0) & has_group)),
        ]
        place = Signal(range(GROUP))
        for k in range(GROUP):
            with m.If(lowest[k]):
                m.d.comb += place.eq(k)
        group_bits = ceil_log2(n)
        with m.If(~ends):
            m.d.comb += self.o.payload.block.eq(Cat(place, at.group[:group_bits], at.number))
        with m.If(moves):
            m.d.sync += bits.eq(bits & ~lowest)
        with m.If(late.o.ready):
            m.d.sync += has_group.eq(late.o.valid)
            with m.If(late.o.valid):
                m.d.sync += [at.eq(late.o.payload), bits.eq(late.o.payload.bits)]
        return m
