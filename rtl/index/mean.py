"""Means of integers: a division of a bit or two a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Mean"]


class Mean(Component):
    """Divide a sum by a count: two bits of the quotient a cycle, rounded towards zero.

    Parameters
    ----------
    sum_width : int
        Bits of a sum, signed.
    count_width : int
        Bits of a count, unsigned.
    fraction : int
        Bits of the mean below the sum's last place.
    mean_width : int
        Bits of a mean, signed; those above are dropped.

    Members
    -------
    i : In(stream)
        ``sum`` and ``count``, which is not 0.
    o : Out(stream)
        The mean, about ``(sum_width + fraction) / 2`` cycles later; one at a time.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or a mean is wider than a sum with its fraction.
    """

    def __init__(self, *, sum_width: int, count_width: int, fraction: int, mean_width: int) -> None:
        check_count("Sum width", sum_width)
        check_count("Count width", count_width)
        check_count("Fraction", fraction)
        check_count("Mean width", mean_width, most=sum_width + fraction)
        self._fraction = fraction
        pair = data.StructLayout({"sum": signed(sum_width), "count": count_width})
        super().__init__(
            {
                "i": In(stream.Signature(pair)),
                "o": Out(stream.Signature(signed(mean_width))),
            }
        )
        self._width = (sum_width + fraction + 1) // 2 * 2

    def elaborate(self, platform: object) -> Module:
        """Shift the magnitude out at the top, the quotient in at the bottom."""
        m = Module()
        total, divisor = self.i.payload["sum"], Signal.like(self.i.payload.count, reset_less=True)
        word = Signal(self._width, reset_less=True)
        rest = Signal(len(divisor), reset_less=True)
        negative = Signal(reset_less=True)
        left = Signal(range(self._width // 2 + 1))

        busy = Signal()
        steps = Signal()
        m.d.comb += self.i.ready.eq(~busy)
        with m.If(self.i.valid & ~busy):
            magnitude = Signal(len(total))
            m.d.comb += magnitude.eq(Mux(total < 0, -total, total))
            m.d.sync += [
                word.eq(magnitude << self._fraction),
                rest.eq(0),
                divisor.eq(self.i.payload.count),
                negative.eq(total < 0),
                left.eq(self._width // 2),
                busy.eq(1),
                steps.eq(1),
            ]
        with m.If(steps):
            next_rest: Value = rest
            bits: list[Signal] = []
            for n in range(2):
                trial = Signal(len(divisor) + 1, name=f"trial_{n}")
                difference = Signal(len(divisor) + 2, name=f"difference_{n}")
                fits = Signal(name=f"fits_{n}")
                kept = Signal(len(divisor), name=f"kept_{n}")
                m.d.comb += [
                    trial.eq(Cat(word[self._width - 1 - n], next_rest)),
                    difference.eq(trial - divisor),
                    fits.eq(~difference[-1]),
                    kept.eq(Mux(fits, difference, trial)[: len(divisor)]),
                ]
                next_rest = kept
                bits.insert(0, fits)
            m.d.sync += [rest.eq(next_rest), word.eq(Cat(*bits, word)), left.eq(left - 1)]
            m.d.sync += steps.eq(left != 1)
        done = Signal()
        with m.If(busy & ~steps & (~self.o.valid | self.o.ready)):
            m.d.comb += done.eq(1)
        with m.If(done):
            m.d.sync += [
                busy.eq(0),
                self.o.payload.eq(Mux(negative, -word, word)[: len(self.o.payload)].as_signed()),
            ]
        with m.If(done | self.o.ready):
            m.d.sync += self.o.valid.eq(done)
        return m
