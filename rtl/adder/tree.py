"""A pipelined sum of many numbers."""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, wrap
from .ternary import TernaryAdder

__all__ = ["SumTree", "sum_latency"]


class SumTree(Component):
    """Add ``n`` numbers of one range and a constant; a new set every cycle.

    Each level adds threes and ends in a register. Words are as wide as their range needs, and never
    wider than the result.

    Parameters
    ----------
    n : int
        Numbers.
    low, high : int
        Smallest and largest of them.
    width : int
        Bits of the result, which is exact modulo ``2**width``.
    constant : int
        Added to the sum. It rides along with the adders that have a place free.

    Members
    -------
    i : In(n * i_width)
        The numbers, the first one lowest; two's complement when ``low`` is negative.
    o : Out(signed(width))
        Their sum, ``latency`` cycles later.
    i_width : int
        Bits of each number.
    latency : int
        Cycles: the levels of the tree, one at least.

    Raises
    ------
    TypeError, ValueError
        When a parameter is of the wrong kind or out of range.
    """

    def __init__(self, *, n: int, low: int, high: int, width: int, constant: int = 0) -> None:
        check_count("Number of words", n)
        check_count("Width", width)
        if low > high:
            raise ValueError(f"The smallest number must be at most {high}, not {low}")
        self._low, self._high, self._width, self._constant = low, high, width, constant
        self._n = n
        super().__init__({"i": In(n * self.i_width), "o": Out(signed(width))})

    @property
    def i_width(self) -> int:
        """Bits of each number."""
        return _bits(self._low, self._high)

    @property
    def latency(self) -> int:
        """Levels of the tree."""
        return sum_latency(self._n, self._constant)

    def elaborate(self, platform: object) -> Module:
        """Build the levels."""
        m = Module()
        words: list[tuple[Value, int, int]] = [
            (self.i.word_select(k, self.i_width), self._low, self._high) for k in range(self._n)
        ]
        for level, groups in enumerate(_levels(self._n, self._constant)):
            sums = []
            for number, (n, constant) in enumerate(groups):
                taken, words = words[:n], words[n:]
                low = sum(x[1] for x in taken) + constant
                high = sum(x[2] for x in taken) + constant
                width = min(_bits(low, high), self._width)
                total = Signal(width, name=f"sum_{level}_{number}", reset_less=True)
                if n == 1 and not constant:
                    m.d.sync += total.eq(taken[0][0])
                else:
                    adder = TernaryAdder(
                        width=width, n=n, constant=constant if n == 3 else constant % (1 << width)
                    )
                    m.submodules[f"add_{level}_{number}"] = adder
                    m.d.comb += adder.i.eq(Cat(_extend(*x, width=width) for x in taken))
                    m.d.sync += total.eq(adder.o)
                sums.append((total, low, high))
            words = sums
        m.d.comb += self.o.eq(_extend(*words[0], width=self._width))
        return m


def sum_latency(n: int, constant: int = 0) -> int:
    """Return the latency of a tree of ``n`` numbers and a constant, without making one."""
    return len(_levels(n, constant))


def _levels(n: int, constant: int) -> list[list[tuple[int, int]]]:
    """Return the adders of each level: how many words each takes, and its constant.

    A constant of up to 2 fits beside three words, any constant beside two.
    """
    levels = []
    while True:
        groups = [min(3, n - start) for start in range(0, n, 3)]
        if groups == [3] and not 0 <= constant <= 2:
            groups = [2, 1]
        room = [k for k, size in enumerate(groups) if size == 2 or n == 1]
        if 0 < constant <= 2 and groups[0] == 3:
            room = [0]
        place = room[0] if constant and room else None
        levels.append([(size, constant if k == place else 0) for k, size in enumerate(groups)])
        constant = constant if place is None else 0
        n = len(groups)
        if n == 1:
            return levels


def _bits(low: int, high: int) -> int:
    """Return the bits of a number from ``low`` to ``high``, two's complement if one is negative."""
    if low < 0:
        return max((-low - 1).bit_length(), max(high, 0).bit_length()) + 1
    return max(high.bit_length(), 1)


def _extend(word: Value, low: int, high: int, *, width: int) -> Value:
    """Return a word of a range with ``width`` bits, cut or extended."""
    number = word.as_signed() if low < 0 else word.as_unsigned()
    return wrap(number, Integer(width, is_signed=low < 0))
