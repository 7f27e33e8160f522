"""An adder of three numbers, which costs an FPGA as much as an adder of two."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..primitive import Primitive

__all__ = ["TernaryAdder"]


class TernaryAdder(Primitive):
    """Add up to three words and a constant, modulo ``2**width``; combinational.

    On targets with 6-input LUTs that have two outputs, such as UltraScale+, each bit is one LUT: it
    makes the sum of the three bits for the carry chain and their majority for the bit above.

    Parameters
    ----------
    width : int
        Bits of the words and of the sum.
    n : int
        Words: 1, 2 or 3.
    constant : int
        What is added to them. With three words there is room for 0, 1 and 2 only; with a last word
        that may be subtracted, for 0 and 1.
    subtracts : bool
        Whether the last word is subtracted in cycles in which ``i_subtract`` is 1.

    Members
    -------
    i : In(width * n)
        Words, the first one lowest.
    i_subtract : In(1)
        Only with ``subtracts``.
    o : Out(width)
        The sum.

    Raises
    ------
    TypeError, ValueError
        When a parameter is of the wrong kind or out of range.
    """

    def __init__(
        self, *, width: int, n: int = 3, constant: int = 0, subtracts: bool = False
    ) -> None:
        check_count("Width", width)
        check_count("Number of words", n, most=3)
        if n == 3 and not 0 <= constant <= 2 - subtracts:
            raise ValueError(
                f"The constant beside three words must be 0 to {2 - subtracts}, not {constant}"
            )
        if subtracts and n < 3 and constant:
            raise ValueError(f"The constant beside a subtracted word must be 0, not {constant}")
        self._width, self._n, self._constant = width, n, constant
        super().__init__(
            {"i": In(width * n), "o": Out(width)} | ({"i_subtract": In(1)} if subtracts else {})
        )

    def twin(self) -> Module:
        """Return the sum as the synthesis tool would build it."""
        m = Module()
        words = [self.i.word_select(k, self._width) for k in range(self._n)]
        if self.parameters["subtracts"]:
            last = Signal(self._width)
            m.d.comb += last.eq(Mux(self.i_subtract, -words[-1], words[-1]))
            words[-1] = last
        m.d.comb += self.o.eq(sum(words, start=self._constant))
        return m
