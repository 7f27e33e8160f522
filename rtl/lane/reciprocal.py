"""Reciprocal of a row sum: a floating-point number from one division per query row."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from .pipeline import delayed

__all__ = ["Reciprocal", "reciprocal_layout"]

_ALIGNED_WIDTH = 19
_QUOTIENT_WIDTH = 17
_EXPONENT_WIDTH = 6


def reciprocal_layout(tag: Any) -> data.StructLayout:
    """Return the layout of a reciprocal: its row sum was ``zero``, or about ``2**(e + 17) / r``.

    ``e`` is the position of the highest 1 of the sum, ``r`` has 17 bits, of which the highest is 1.
    """
    return data.StructLayout({"zero": 1, "e": _EXPONENT_WIDTH, "r": _QUOTIENT_WIDTH, "tag": tag})


class Reciprocal(Component):
    """Divide ``2**35 - 1`` by a row sum, aligned to 19 bits: one a cycle.

    A leading-one search of one power of two per stage, then a restoring divider of one bit per
    stage. The quotient of 17 bits starts with a 1 whatever the divisor is, so 16 stages remain.

    Parameters
    ----------
    sum_width : int
        Bits of a row sum, unsigned; up to 64.
    tag : shape-like
        What travels with the sum.

    Members
    -------
    i : In(stream)
        Row sum ``l`` and its ``tag``; always taken.
    o : Out(stream)
        ``latency`` cycles later, see :func:`reciprocal_layout`. With ``zero``, ``e`` and ``r`` mean
        nothing.

    Raises
    ------
    TypeError, ValueError
        When ``sum_width`` is out of range.
    """

    def __init__(self, *, sum_width: int, tag: Any) -> None:
        check_count("Sum width", sum_width, most=1 << _EXPONENT_WIDTH)
        self._sum_width = sum_width
        self._levels = ceil_log2(max(sum_width, _ALIGNED_WIDTH))
        sums = data.StructLayout({"l": sum_width, "tag": tag})
        super().__init__(
            {
                "i": In(stream.Signature(sums, always_ready=True)),
                "o": Out(stream.Signature(reciprocal_layout(tag), always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return self._levels + _QUOTIENT_WIDTH - 1

    def elaborate(self, platform: object) -> Module:
        """Move the highest 1 to the top; divide."""
        m = Module()

        # Where the top 2**level bits are 0, shift them out: fewer than 2**level zeros lead then.
        width = max(self._sum_width, _ALIGNED_WIDTH)
        value, distance = Cat(self.i.payload.l, Const(0, width - self._sum_width)), Const(0, 0)
        for level in reversed(range(self._levels)):
            size = 1 << level
            moves = Signal(name=f"moves_{level}")
            moved = Signal(width, name=f"aligned_{level}", reset_less=True)
            so_far = Signal(len(distance) + 1, name=f"distance_{level}", reset_less=True)
            m.d.comb += moves.eq(value[-size:] == 0)
            m.d.sync += [
                moved.eq(Mux(moves, value << size, value)[:width]),
                so_far.eq(Cat(moves, distance)),
            ]
            value, distance = moved, so_far
        late = _QUOTIENT_WIDTH - 1
        exponent = Signal(_EXPONENT_WIDTH, reset_less=True)
        zero = Signal(reset_less=True)
        m.d.sync += exponent.eq((width - 1 - distance)[:_EXPONENT_WIDTH])
        m.d.sync += zero.eq(~value[-1])

        # 2**35 - 1 is all ones. Its top 18 bits are below any divisor. The 19th makes the first
        # quotient bit a 1 and leaves 2**19 - 1 - divisor, which is the divisor's bits inverted.
        # Each further one doubles the rest and adds 1.
        divisor = value[-_ALIGNED_WIDTH:]
        rest, quotient = ~divisor, Const(1, 1)
        for n in range(_QUOTIENT_WIDTH - 1):
            trial = Signal(_ALIGNED_WIDTH + 1, name=f"trial_{n}")
            difference = Signal(_ALIGNED_WIDTH + 2, name=f"difference_{n}")
            fits = Signal(name=f"fits_{n}")
            next_divisor = Signal(_ALIGNED_WIDTH, name=f"divisor_{n}", reset_less=True)
            next_rest = Signal(_ALIGNED_WIDTH, name=f"rest_{n}", reset_less=True)
            next_quotient = Signal(len(quotient) + 1, name=f"quotient_{n}", reset_less=True)
            m.d.comb += [
                trial.eq(Cat(Const(1, 1), rest)),
                difference.eq(trial - divisor),
                fits.eq(~difference[-1]),
            ]
            m.d.sync += [
                next_divisor.eq(divisor),
                next_rest.eq(Mux(fits, difference, trial)[:_ALIGNED_WIDTH]),
                next_quotient.eq(Cat(fits, quotient)),
            ]
            divisor, rest, quotient = next_divisor, next_rest, next_quotient

        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        result = self.o.payload
        m.d.comb += [
            self.o.valid.eq(valids[-1]),
            result.zero.eq(delayed(m, zero, late - 1, name="zero")),
            result.e.eq(delayed(m, exponent, late - 1, name="exponent")),
            result.r.eq(quotient),
        ]
        if Shape.cast(self.i.payload.shape()["tag"].shape).width:
            m.d.comb += result.tag.eq(delayed(m, self.i.payload.tag, self.latency, name="tag"))
        return m
