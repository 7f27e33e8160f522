"""A choice out of words: the step of which shifters and rotators are made."""

from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from .check import check_count
from .component import Component

__all__ = ["Choice"]


class Choice(Component):
    """One word out of ``n``; combinational.

    A choice out of four is a LUT of six inputs for each bit. A module of its own makes sure of
    that: of a whole barrel shifter, synthesis sees that every choice out of two is used twice, and
    keeps all of them, which takes two LUTs.

    Parameters
    ----------
    width : int
        Bits of a word.
    n : int
        Number of words.

    Members
    -------
    i : In(width * n)
        Words, number 0 in the lowest bits.
    select : In
        Number of a word.
    o : Out(width)
        This word.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, width: int, n: int) -> None:
        self._width, self._n = check_count("Width", width), check_count("Number of words", n)
        super().__init__({"i": In(width * n), "select": In(range(max(n, 2))), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        """Select."""
        m = Module()
        with m.Switch(self.select):
            for number in range(self._n):
                with m.Case(number):
                    m.d.comb += self.o.eq(self.i.word_select(number, self._width))
        return m
