"""A pipelined sum of many numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, wrap
from .ternary import TernaryAdder

__all__ = ["SumTree", "sum_latency"]


class SumTree(Component):
    """Add numbers of one range, in planes of ascending weight, and a constant.

    A new set every cycle. Each level adds threes, neighbours in weight, and ends in a register.
    Words are as wide as their range needs, and never wider than the result; low bits that only one
    of three words has pass by their adder.

    Parameters
    ----------
    n : int
        Numbers in each plane.
    low, high : int
        Smallest and largest of them.
    width : int
        Bits of the result, which is exact modulo ``2**width``.
    constant : int
        Added to the sum. It rides along with the adders that have a place free.
    planes : int
        Planes: numbers of plane p count ``2**p`` times.
    subtracts : bool
        Whether the last plane is subtracted in cycles in which ``i_subtract`` is 1.

    Members
    -------
    i : In(planes * n * i_width)
        The numbers, the first one of plane 0 lowest; two's complement when ``low`` is negative.
    i_subtract : In(1)
        Only with ``subtracts``.
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

    def __init__(
        self,
        *,
        n: int,
        low: int,
        high: int,
        width: int,
        constant: int = 0,
        planes: int = 1,
        subtracts: bool = False,
    ) -> None:
        check_count("Number of words", n)
        check_count("Width", width)
        check_count("Number of planes", planes, most=width)
        if low > high:
            raise ValueError(f"The smallest number must be at most {high}, not {low}")
        self._low, self._high, self._width, self._constant = low, high, width, constant
        self._levels = _plan(_terms(n, low, high, planes, subtracts), constant)
        super().__init__(
            {"i": In(planes * n * self.i_width), "o": Out(signed(width))}
            | ({"i_subtract": In(1)} if subtracts else {})
        )

    @property
    def i_width(self) -> int:
        """Bits of each number."""
        return _bits(self._low, self._high)

    @property
    def latency(self) -> int:
        """Levels of the tree."""
        return len(self._levels)

    def elaborate(self, platform: object) -> Module:
        """Build the levels."""
        m = Module()
        words: Sequence[Value] = [
            self.i[start : start + self.i_width] for start in range(0, len(self.i), self.i_width)
        ]
        for level, sums in enumerate(self._levels):
            words = [
                self._add(m, f"{level}_{number}", total, [words[k] for k in total.places])
                for number, total in enumerate(sums)
            ]
        m.d.comb += self.o.eq(self._levels[-1][0].term.extend(words[0], 0, self._width))
        return m

    def _add(self, m: Module, name: str, total: "_Sum", words: Sequence[Value]) -> Value:
        """Register the sum of ``words``, which are as long as their ranges need."""
        base = total.term.shift
        width = min(total.term.bits, self._width - base)
        passed = min(total.passed, width - 1)
        o = Signal(width, name=f"sum_{name}", reset_less=True)
        first = total.terms[0].extend(words[0], 0, width)
        if len(words) == 1 and not total.constant and not total.terms[0].subtracts:
            m.d.sync += o.eq(first)
            return o
        inner = width - passed
        aligned = [first[passed:]]
        for term, word in zip(total.terms[1:], words[1:], strict=True):
            aligned.append(term.extend(word, term.shift - base - passed, inner))
        constant = total.constant if len(words) == 3 else total.constant % (1 << inner)
        subtracts = total.terms[-1].subtracts
        m.submodules[f"add_{name}"] = adder = TernaryAdder(
            width=inner, n=len(words), constant=constant, subtracts=subtracts
        )
        m.d.comb += adder.i.eq(Cat(*aligned))
        if subtracts:
            m.d.comb += adder.i_subtract.eq(self.i_subtract)
        m.d.sync += o.eq(Cat(first[:passed], adder.o))
        return o


def sum_latency(n: int, constant: int = 0, *, planes: int = 1, subtracts: bool = False) -> int:
    """Return the latency of a tree without making one; numbers of any range have the same."""
    return len(_plan(_terms(n, 0, 0, planes, subtracts), constant))


@dataclass(frozen=True)
class _Term:
    """A number from ``low`` to ``high`` that counts ``2**shift`` times, maybe negatively."""

    low: int
    high: int
    shift: int
    subtracts: bool = False

    @property
    def bits(self) -> int:
        """Bits of the number."""
        return _bits(self.low, self.high)

    def extend(self, word: Value, shift: int, width: int) -> Value:
        """Return ``word << shift`` with ``width`` bits, cut or extended."""
        number = Cat(Const(0, shift), word) if shift else word
        number = number.as_signed() if self.low < 0 else number.as_unsigned()
        return wrap(number, Integer(width, is_signed=False))


@dataclass(frozen=True)
class _Sum:
    """An adder: what it adds, and what comes out.

    Members
    -------
    places : tuple of int
        Which words of the level above, lowest weight first; a subtracted one last.
    terms : tuple of _Term
        These words.
    constant : int
        Added to them.
    passed : int
        Low bits of the first word that no other word has.
    term : _Term
        The sum.
    """

    places: tuple[int, ...]
    terms: tuple[_Term, ...]
    constant: int = 0

    @property
    def passed(self) -> int:
        if len(self.terms) == 1 or self.constant:
            return 0
        return self.terms[1].shift - self.terms[0].shift

    @property
    def term(self) -> _Term:
        base = self.terms[0].shift
        low = high = self.constant
        for term in self.terms:
            ends = [term.low, term.high] + term.subtracts * [-term.low, -term.high]
            low += min(ends) << term.shift - base
            high += max(ends) << term.shift - base
        return _Term(low, high, base)

    def has_room(self, constant: int) -> bool:
        """Tell whether ``constant`` fits here: 0 to 2 beside three words, anything beside two."""
        if self.terms[0].shift or self.terms[-1].subtracts:
            return False
        return len(self.terms) < 3 or 0 <= constant <= 2


def _terms(n: int, low: int, high: int, planes: int, subtracts: bool) -> list[_Term]:
    """Return what a tree adds up."""
    return [
        _Term(low, high, plane, subtracts and plane == planes - 1)
        for plane in range(planes)
        for _ in range(n)
    ]


def _plan(terms: Sequence[_Term], constant: int) -> list[list[_Sum]]:
    """Return the adders of each level."""
    levels: list[list[_Sum]] = []
    while not levels or len(terms) > 1 or constant:
        groups = _threes(terms)
        if len(groups) == 1 and len(terms) == 3 and not 0 <= constant <= 2:
            groups = [groups[0][:2], groups[0][2:]]
        sums = [_Sum(tuple(group), tuple(terms[k] for k in group)) for group in groups]
        # A word that is alone needs no adder in this level, unless it is the last one.
        rooms = [
            k
            for k, total in enumerate(sums)
            if constant and total.has_room(constant) and (len(total.terms) > 1 or len(sums) == 1)
        ]
        if rooms:
            k = max(rooms, key=lambda k: (len(sums[k].terms), -k))
            sums[k] = _Sum(sums[k].places, sums[k].terms, constant)
            constant = 0
        levels.append(sums)
        terms = [total.term for total in sums]
    return levels


def _threes(terms: Sequence[_Term]) -> list[list[int]]:
    """Return which words to add: neighbours in weight, at most one of them to be subtracted.

    That one is joined by the next lighter two of different weight: then the lightest one's low bits
    need no adder.
    """
    plain = sorted(
        (k for k, x in enumerate(terms) if not x.subtracts), key=lambda k: terms[k].shift
    )
    subtracted = [k for k, x in enumerate(terms) if x.subtracts]
    n = len(subtracted)
    groups: list[list[int]] = []
    for k in subtracted:
        group = [k]
        for back in (n, 2 * n):
            place = len(plain) - back + len(groups)
            if place >= 0:
                group.insert(0, plain[place])
        groups.append(group)
    rest = plain[: max(0, len(plain) - 2 * n)]
    return [rest[start : start + 3] for start in range(0, len(rest), 3)] + groups


def _bits(low: int, high: int) -> int:
    """Return the bits of a number from ``low`` to ``high``, two's complement if one is negative."""
    if low < 0:
        return max((-low - 1).bit_length(), max(high, 0).bit_length()) + 1
    return max(high.bit_length(), 1)
