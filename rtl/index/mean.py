"""Means of integers: a division of a bit a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Mean"]


class Mean(Component):
    """Divide a sum by a count: a bit of the quotient a cycle, rounded down.

    Parameters
    ----------
    sum_width : int
        Bits of a sum, signed.
    count_width : int
        Bits of a count, unsigned.
    fraction : int
        Bits of the mean below the sum's last place.
    mean_width : int
        Bits of a mean, signed: every mean fits them.

    Members
    -------
    i : In(stream)
        ``sum`` and ``count``, which is not 0.
    o : Out(stream)
        The mean, ``mean_width + 2`` cycles later; one at a time.

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
        self._width = mean_width

    def elaborate(self, platform: object) -> Module:
        """Shift the sum out at the top, the quotient in at the bottom.

        What is above the quotient's bits is less than the divisor: there division begins. Of a
        negative sum all bits are inverted before, and the quotient's behind: so it rounds down.
        """
        m = Module()
        total, divisor = self.i.payload["sum"], Signal.like(self.i.payload.count, reset_less=True)
        word = Signal(self._width, reset_less=True)
        rest = Signal(len(divisor), reset_less=True)
        negative = Signal(reset_less=True)
        left = Signal(range(self._width + 1))
        busy = Signal()
        steps = Signal()
        m.d.comb += self.i.ready.eq(~busy)
        with m.If(self.i.valid & ~busy):
            numerator = Signal(len(total) + self._fraction)
            m.d.comb += numerator.eq(Cat(Const(0, self._fraction), total))
            m.d.sync += [
                Cat(word, rest).eq(numerator ^ total[-1].replicate(len(numerator))),
                divisor.eq(self.i.payload.count),
                negative.eq(total[-1]),
                left.eq(self._width),
                busy.eq(1),
                steps.eq(1),
            ]
        trial = Signal(len(divisor) + 1)
        # Less than the divisor, either way: its highest bit is the sign.
        difference = Signal(len(divisor) + 1)
        fits = Signal()
        m.d.comb += [
            trial.eq(Cat(word[-1], rest)),
            difference.eq(trial - divisor),
            fits.eq(~difference[-1]),
        ]
        with m.If(steps):
            m.d.sync += [
                rest.eq(Mux(fits, difference, trial)),
                word.eq(Cat(fits, word)),
                left.eq(left - 1),
                steps.eq(left != 1),
            ]
        done = Signal()
        with m.If(busy & ~steps & (~self.o.valid | self.o.ready)):
            m.d.comb += done.eq(1)
        with m.If(done):
            m.d.sync += [
                busy.eq(0),
                self.o.payload.eq(word ^ negative.replicate(len(word))),
            ]
        with m.If(done | self.o.ready):
            m.d.sync += self.o.valid.eq(done)
        return m
