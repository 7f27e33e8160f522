"""From bit masks to lists: which bits are set, in ascending order."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream import RegisterSlice
from .list import list_layout

__all__ = ["GROUP", "MaskScanner", "check_word_width", "word_layout"]

GROUP = 4
"""Bits that are looked at together: what comes after a bit is one LUT behind them."""


def check_word_width(word_width: int) -> int:
    """Return the width if a mask can have words of it: a power of two of at least a group.

    Raises
    ------
    TypeError, ValueError
        When it is not a positive integer, or no such power of two.
    """
    check_count("Word width", word_width)
    if word_width < GROUP or word_width & word_width - 1:
        raise ValueError(
            f"Word width must be a power of two of at least {GROUP}, not {word_width!r}"
        )
    return word_width


def word_layout(word_width: int) -> data.StructLayout:
    """Return a word of a mask; ``last`` is that of the mask's last one.

    Raises
    ------
    TypeError, ValueError
        When the width is not a positive integer, or no power of two of at least a group.
    """
    check_word_width(word_width)
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
        self._blocks = check_count("Blocks", blocks)
        self._width = check_word_width(word_width)
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
        # Which groups have bits is known when a word comes.
        word_shape = data.StructLayout({"mask": self._width, "last": 1, "groups": n})
        m.submodules.early = early = RegisterSlice(shape=word_shape)
        mask = self.i.payload.mask
        m.d.comb += [
            early.i.payload.mask.eq(mask),
            early.i.payload.last.eq(self.i.payload.last),
            early.i.payload.groups.eq(Cat(mask.word_select(k, GROUP).any() for k in range(n))),
            early.i.valid.eq(self.i.valid),
            self.i.ready.eq(early.i.ready),
        ]

        # From group to group: the one whose turn it is, and those that follow.
        word = Signal(self._width, reset_less=True)
        word_is_last = Signal(reset_less=True)
        number = Signal(range(max(n_words, 2)))  # of the word
        begins = Signal(init=1)  # the word is a mask's first
        turn = Signal(n, reset_less=True)
        rest = Signal(n, reset_less=True)
        has_word = Signal()
        takes = Signal()
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
        is_done = Signal(reset_less=True)  # with this word
        m.d.comb += [
            chosen.number.eq(number),
            chosen.last.eq(is_done & word_is_last),
            late.i.valid.eq(has_word),
            takes.eq(~has_word | (late.i.ready & is_done)),
            early.o.ready.eq(takes),
        ]
        # It is one turn at most, which a chain of choices would not know.
        bits_of = [word.word_select(k, GROUP) & turn[k].replicate(GROUP) for k in range(n)]
        numbers = [turn[k].replicate(len(chosen.group)) & k for k in range(n)]
        m.d.comb += [
            chosen.bits.eq(reduce(or_, bits_of)),
            chosen.group.eq(reduce(or_, numbers)),
        ]
        # Of both, what would come next: which one it is is known late.
        others = {}
        for name, groups in (("new", early.o.payload.groups), ("rest", rest)):
            lowest = Signal(n, name=f"{name}_lowest")
            more = Signal(n, name=f"{name}_more")
            others[name] = lowest, more
            m.d.comb += [
                lowest.eq(Cat(groups[k] & ~groups[:k].any() for k in range(n))),
                more.eq(groups & ~lowest),
            ]
        for name, comes in (("rest", late.i.ready), ("new", takes)):
            lowest, more = others[name]
            with m.If(comes):
                m.d.sync += [turn.eq(lowest), rest.eq(more), is_done.eq(~more.any())]
        with m.If(takes):
            m.d.sync += has_word.eq(early.o.valid)
            with m.If(early.o.valid):
                m.d.sync += [
                    word.eq(early.o.payload.mask),
                    word_is_last.eq(early.o.payload.last),
                    number.eq(Mux(begins, 0, number + 1)),
                    begins.eq(early.o.payload.last),
                ]

        # From bit to bit, with what is offered in registers. A group without a bit is that of a
        # word without one.
        found = late.o.payload
        pending = Signal(GROUP, reset_less=True)
        has_pending = Signal()
        owes_end = Signal()
        is_valid = Signal()
        is_end = Signal(reset_less=True)
        at = Signal(self.o.payload.block.shape(), reset_less=True)
        place = Signal(range(GROUP))
        here = Signal(data.StructLayout({"number": number.shape(), "group": found.group.shape()}))
        bits = Signal(GROUP)
        lowest = Signal(GROUP)
        moves = Signal()
        m.d.comb += [
            moves.eq(self.o.ready | ~is_valid),
            late.o.ready.eq(moves & ~has_pending & ~owes_end),
            bits.eq(Mux(has_pending, pending, found.bits)),
            lowest.eq(Cat(bits[k] & ~bits[:k].any() for k in range(GROUP))),
            place.eq(Cat(lowest[1] | lowest[3], lowest[2] | lowest[3])),
            self.o.valid.eq(is_valid),
            self.o.payload.end.eq(is_end),
            self.o.payload.block.eq(at),
        ]
        kept = Signal.like(here, reset_less=True)  # where the pending bits are
        m.d.comb += [
            here.number.eq(Mux(has_pending, kept.number, found.number)),
            here.group.eq(Mux(has_pending, kept.group, found.group)),
        ]
        is_some = Signal()  # an entry comes next
        m.d.comb += is_some.eq(has_pending | (~owes_end & late.o.valid & (found.bits != 0)))
        with m.If(moves):
            m.d.sync += [
                is_valid.eq(is_some | owes_end | (late.o.valid & found.last)),
                is_end.eq(~is_some),
                at.eq(Mux(is_some, Cat(place, here.group[: ceil_log2(n)], here.number), 0)),
                kept.eq(here),
                pending.eq(bits & ~lowest),
                has_pending.eq(is_some & (bits & ~lowest).any()),
                owes_end.eq(is_some & Mux(has_pending, owes_end, found.last)),
            ]
        return m
