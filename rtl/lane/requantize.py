"""Outputs in the form in which they go to memory: words, or bytes four of which are a word."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Fixed, Integer, saturate
from .numerics import Numerics

__all__ = ["WORD", "Requantizer"]

WORD = Fixed(16, 16)
"""An output of attention in memory: ``Fixed(8, 16)``, the sign extended."""

_BYTES = WORD.width // 8


class Requantizer(Component):
    """Extend outputs to words, or round them to integers of 8 bits and pack these.

    Rounding is to nearest, ties up; what is beyond 127 becomes 127. Latency 1; takes a beat a
    cycle. Of integers, every fourth beat completes one; ``last`` must come with such a beat.

    Parameters
    ----------
    out_width : int
        Outputs per beat.

    Members
    -------
    narrow : In(1)
        Whether outputs become integers. Changes only when no output is on its way.
    i : In(stream)
        Outputs ``row``, ``Fixed(8, 16)``; ``last`` of a query block.
    o : Out(stream)
        Words ``row``, of type ``Fixed(16, 16)`` or four integers each, the first in the low bits.

    Raises
    ------
    TypeError, ValueError
        When ``out_width`` is not a positive integer.
    """

    def __init__(self, *, out_width: int) -> None:
        check_count("Out width", out_width)
        self._width = out_width
        element = Fixed(Numerics.out_integer, Numerics.out_fraction)
        rows = {
            name: data.StructLayout({"row": data.ArrayLayout(format_, out_width), "last": 1})
            for name, format_ in (("i", element), ("o", WORD))
        }
        super().__init__(
            {
                "narrow": In(1),
                "i": In(stream.Signature(rows["i"])),
                "o": Out(stream.Signature(rows["o"])),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Keep a beat; write all of it, or a quarter."""
        m = Module()
        row, fraction = self.i.payload.row, Numerics.out_fraction
        takes = Signal()
        full = Signal()
        part = Signal(range(_BYTES))
        words = Signal(self.o.payload.row.shape(), reset_less=True)
        last = Signal(reset_less=True)
        integers = Signal(8 * self._width)
        m.d.comb += [
            self.i.ready.eq(~full | self.o.ready),
            takes.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(full),
            self.o.payload.row.eq(words),
            self.o.payload.last.eq(last),
        ]
        for k in range(self._width):
            rounded = Signal(Fixed(Numerics.out_integer + 1, 0), name=f"rounded_{k}")
            whole = row[k][fraction:].as_signed()
            m.d.comb += rounded.eq(whole + row[k][fraction - 1])
            m.d.comb += integers.word_select(k, 8).eq(saturate(rounded, Integer(8)))
        with m.If(self.o.ready):
            m.d.sync += full.eq(0)
        with m.If(takes):
            m.d.sync += last.eq(self.i.payload.last)
            with m.If(self.narrow):
                m.d.sync += [
                    part.eq(part + 1),
                    full.eq(part == _BYTES - 1),
                    words.as_value().word_select(part, 8 * self._width).eq(integers),
                ]
            with m.Else():
                m.d.sync += full.eq(1)
                for k in range(self._width):
                    value = row[k]
                    extended = Cat(value, value[-1].replicate(WORD.width - len(value)))
                    m.d.sync += words[k].eq(extended)
        return m
