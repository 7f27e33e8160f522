"""Delay lines: what a systolic array needs at its edges, so that its lanes meet in time."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from .check import check_count
from .component import Component

__all__ = ["Delay", "Skew"]

# Longer and wider lines are made of parts of this size: emission shares what is equal.
_CYCLES_PER_MODULE = 16
_LANES_PER_MODULE = 16


class Delay(Component):
    """Delay a word by a fixed number of cycles.

    There is neither reset nor enable, so that FPGA tools put up to 32 stages of a bit into one LUT.
    Whatever must be 0 after a reset, such as a ``valid``, needs registers of its own.

    Parameters
    ----------
    width : int
        Bits of the word; at least 1.
    cycles : int
        Delay; 0 is a wire.

    Members
    -------
    i : In(width)
        Word in.
    o : Out(width)
        The word of ``cycles`` ago; 0 until then.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not an integer, or out of range.
    """

    def __init__(self, *, width: int, cycles: int) -> None:
        if not isinstance(cycles, int) or isinstance(cycles, bool):
            raise TypeError(f"Delay must be a non-negative integer, not {cycles!r}")
        if cycles < 0:
            raise ValueError(f"Delay must be a non-negative integer, not {cycles!r}")
        self._width, self._cycles = check_count("Width", width), cycles
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        """Build one shift register, newest word lowest, or a chain of equal short ones."""
        m = Module()
        word: Value = self.i
        if self._cycles <= _CYCLES_PER_MODULE:
            if self._cycles:
                line = Signal(self._width * self._cycles, reset_less=True)
                m.d.sync += line.eq(Cat(word, line))
                word = line[-self._width :]
        else:
            for start in range(0, self._cycles, _CYCLES_PER_MODULE):
                cycles = min(_CYCLES_PER_MODULE, self._cycles - start)
                m.submodules[f"part_{start}"] = part = Delay(width=self._width, cycles=cycles)
                m.d.comb += part.i.eq(word)
                word = part.o
        m.d.comb += self.o.eq(word)
        return m


class Skew(Component):
    """Delay each lane of a bundle by one cycle more than the lane beside it.

    Rising, lane n is delayed by n cycles: a row turns into the diagonal wave of a systolic array.
    Falling, lane n is delayed by ``lanes - 1 - n`` cycles: the wave turns into a row again.

    Parameters
    ----------
    width : int
        Bits of a lane; at least 1.
    lanes : int
        Number of lanes; at least 1.
    falling : bool
        Whether lane 0 has the longest delay, instead of none.

    Members
    -------
    i, o : width * lanes bits
        Lane 0 in the lowest bits.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not an integer, or out of range.
    """

    def __init__(self, *, width: int, lanes: int, falling: bool = False) -> None:
        self._width = check_count("Width", width)
        self._lanes = check_count("Number of lanes", lanes)
        self._falling = falling
        super().__init__({"i": In(width * lanes), "o": Out(width * lanes)})

    def elaborate(self, platform: object) -> Module:
        """Build a shift register per lane, or a small skew and a delay per group of lanes."""
        m = Module()
        if self._lanes <= _LANES_PER_MODULE:
            for lane in range(self._lanes):
                cycles = self._lanes - 1 - lane if self._falling else lane
                word = self.i.word_select(lane, self._width)
                if cycles:
                    line = Signal(self._width * cycles, name=f"line_{lane}", reset_less=True)
                    m.d.sync += line.eq(Cat(word, line))
                    word = line[-self._width :]
                m.d.comb += self.o.word_select(lane, self._width).eq(word)
            return m
        for first in range(0, self._lanes, _LANES_PER_MODULE):
            lanes = min(_LANES_PER_MODULE, self._lanes - first)
            bits = slice(first * self._width, (first + lanes) * self._width)
            cycles = self._lanes - first - lanes if self._falling else first
            skew = Skew(width=self._width, lanes=lanes, falling=self._falling)
            m.submodules[f"skew_{first}"] = skew
            m.d.comb += skew.i.eq(self.i[bits])
            late = skew.o
            if cycles:
                delay = Delay(width=self._width * lanes, cycles=cycles)
                m.submodules[f"delay_{first}"] = delay
                m.d.comb += delay.i.eq(skew.o)
                late = delay.o
            m.d.comb += self.o[bits].eq(late)
        return m
