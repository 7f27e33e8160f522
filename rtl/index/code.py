"""Masses as small floating-point numbers, in the order of the numbers that they stand for.

A value below ``2**fraction`` is its own code. Of a larger one, with its highest 1 at ``fraction +
e - 1``, the code is ``e`` and, below it, the ``fraction`` bits behind that 1; what follows them is
cut off. So a larger value never has a smaller code, and equal codes stand for equal values.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.pipeline import delayed, shift_right, shift_stages

__all__ = ["CodeDecoder", "CodeEncoder", "code_width", "decoder_latency"]


def code_width(value_width: int, fraction: int) -> int:
    """Return the bits of a code of values below ``2**value_width``.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``fraction`` is not below ``value_width``.
    """
    check_count("Value width", value_width)
    check_count("Fraction", fraction)
    if fraction >= value_width:
        raise ValueError(f"Fraction must be below the value width {value_width}, not {fraction}")
    return fraction + (value_width - fraction).bit_length()


def decoder_latency(value_width: int, fraction: int) -> int:
    """Return the cycles from a code to its value."""
    return 1 + shift_stages(ceil_log2(value_width - fraction))


class CodeEncoder(Component):
    """Encode values, one a cycle.

    A stage for each power of two finds out whether the value can move down so far and still have
    its highest 1 above the fraction. Code is then what is left, plus the distance as exponent.

    Parameters
    ----------
    value_width : int
        Bits of a value.
    fraction : int
        Bits of a code below its exponent; fewer.
    tag : shape-like
        What travels with a value.

    Members
    -------
    i : In(stream)
        ``value`` and its ``tag``; always taken.
    o : Out(stream)
        ``code`` and ``tag``, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        As :func:`code_width` does.
    """

    def __init__(
        self,
        *,
        value_width: int = 32,
        fraction: int = 11,
        tag: Any = unsigned(0),  # noqa: B008 - shapes are immutable
    ) -> None:
        width = code_width(value_width, fraction)
        self._value_width, self._fraction = value_width, fraction
        values = data.StructLayout({"value": value_width, "tag": tag})
        codes = data.StructLayout({"code": width, "tag": tag})
        super().__init__(
            {
                "i": In(stream.Signature(values, always_ready=True)),
                "o": Out(stream.Signature(codes, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return max(1, ceil_log2(self._value_width - self._fraction))

    def elaborate(self, platform: object) -> Module:
        """Move down by halves of the way; the highest 1 of what is left counts to the exponent."""
        m = Module()
        value = Signal(self._value_width, name="value")
        m.d.comb += value.eq(self.i.payload.value)
        distance: Signal | Const = Const(0, 0)
        for level in reversed(range(self.latency)):
            size = 1 << level
            moves = Signal(name=f"moves_{level}")
            # Less than that is left to go.
            width = min(len(value), self._fraction + size)
            moved = Signal(width, name=f"value_{level}", reset_less=True)
            so_far = Signal(len(distance) + 1, name=f"distance_{level}", reset_less=True)
            m.d.comb += moves.eq(value[self._fraction + size :].any())
            m.d.sync += [
                moved.eq(Mux(moves, value >> size, value)[:width]),
                so_far.eq(Cat(moves, distance)),
            ]
            value, distance = moved, so_far
        valids = Signal(self.latency)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        highest = value[self._fraction]
        code = Cat(value[: self._fraction], (distance + highest))
        m.d.comb += [
            self.o.valid.eq(valids[-1]),
            self.o.payload.code.eq(code[: len(self.o.payload.code)]),
        ]
        if len(tag := self.o.payload.as_value()[len(self.o.payload.code) :]):
            bits = self.i.payload.as_value()[self._value_width :]
            m.d.comb += tag.eq(delayed(m, bits, self.latency, name="tag"))
        return m


class CodeDecoder(Component):
    """Decode codes, one a cycle: the smallest value that has this code.

    Parameters
    ----------
    value_width, fraction : int
        As of :class:`CodeEncoder`.

    Members
    -------
    i : In
        Code of a value below ``2**value_width``.
    o : Out(value_width)
        Value, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        As :func:`code_width` does.
    """

    def __init__(self, *, value_width: int = 32, fraction: int = 11) -> None:
        self._width = code_width(value_width, fraction)
        self._value_width, self._fraction = value_width, fraction
        super().__init__({"i": In(self._width), "o": Out(value_width)})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return decoder_latency(self._value_width, self._fraction)

    def elaborate(self, platform: object) -> Module:
        """Put the 1 before the fraction, and move both up: down, seen from the other end."""
        m = Module()
        exponent = self.i[self._fraction :]
        is_normal = Signal()
        amount = Signal(ceil_log2(self._value_width - self._fraction), reset_less=True)
        m.d.comb += is_normal.eq(exponent.any())
        mirrored = Signal(self._value_width, reset_less=True)
        start = Cat(self.i[: self._fraction], is_normal)
        m.d.sync += [
            amount.eq((exponent - is_normal)[: len(amount)]),
            mirrored[self._value_width - len(start) :].eq(start[::-1]),
        ]
        (shifted,) = shift_right(m, [mirrored], amount, name="shifted")
        m.d.comb += self.o.eq(shifted[::-1])
        return m
