"""Number formats, and the only ways to make a number narrower.

A format knows its width, its Python value and its Amaranth shape. Anything that loses bits says
how: :func:`wrap`, :func:`saturate` or :func:`round_shift`.
"""

import struct
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import (
    Cat,
    Const,
    Format,
    Mux,
    Shape,
    ShapeCastable,
    Value,
    ValueLike,
    signed,
    unsigned,
)

__all__ = [
    "BF16",
    "F16",
    "F32",
    "I4",
    "I8",
    "I32",
    "U8",
    "Fixed",
    "Float",
    "Integer",
    "NumberFormat",
    "ceil_log2",
    "round_shift",
    "saturate",
    "wrap",
]


def ceil_log2(n: int) -> int:
    """Return the number of bits that tell ``n`` things apart, ``n`` at least 1."""
    if n < 1:
        raise ValueError(f"A count must be at least 1, not {n}")
    return (n - 1).bit_length()


class NumberFormat(ShapeCastable):
    """A number format: use it as the shape of a signal, of a layout field, of a stream payload.

    Members
    -------
    width : int
        Bits of one number.
    is_signed : bool
        Whether the bits are two's complement.
    """

    width: int
    is_signed: bool

    def as_shape(self) -> Shape:
        """Return the Amaranth shape of the bits."""
        return signed(self.width) if self.is_signed else unsigned(self.width)

    def __call__(self, target: ValueLike) -> Value:
        """View ``target`` as a number: a plain Amaranth value with the right sign."""
        value = Value.cast(target)
        if value.shape() == self.as_shape():
            return value  # a signal stays one, and so can be a port
        return value.as_signed() if self.is_signed else value.as_unsigned()

    def const(self, init: Any) -> Const:
        """Return the constant that represents the Python number ``init``; ``None`` is zero."""
        return Const(self.to_bits(0 if init is None else init), self.as_shape())

    def from_bits(self, raw: int) -> Any:
        """Return the Python number that the bits ``raw`` stand for."""
        raise NotImplementedError

    def to_bits(self, value: Any) -> int:
        """Return the integer that a signal of this shape holds for the Python number ``value``."""
        raise NotImplementedError

    def format(self, obj: Any, spec: str) -> Any:
        """Print the raw bits as a number."""
        return Format(f"{{:{spec}}}", Value.cast(self(obj)))

    @property
    def min_raw(self) -> int:
        """Smallest integer that the bits can hold."""
        return -(1 << self.width - 1) if self.is_signed else 0

    @property
    def max_raw(self) -> int:
        """Largest integer that the bits can hold."""
        return (1 << self.width - self.is_signed) - 1

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Fixed(NumberFormat):
    """Fixed point: ``i`` integer bits (the sign bit counts) and ``f`` fraction bits."""

    i: int
    f: int
    is_signed: bool = True

    def __post_init__(self) -> None:
        if self.i + self.f < 1:
            raise ValueError(f"A format needs at least one bit, not Fixed({self.i}, {self.f})")

    @property
    def width(self) -> int:  # type: ignore[override]
        """Bits of one number."""
        return self.i + self.f

    def from_bits(self, raw: int) -> Any:
        """Return a float, or an integer when there is no fraction.

        Amaranth hands over the bits of a signal as its sign says, and those of a field as unsigned.
        """
        raw = (raw - self.min_raw) % (1 << self.width) + self.min_raw
        return raw / (1 << self.f) if self.f else raw

    def to_bits(self, value: Any) -> int:
        """Return ``value`` in units of the last place; it must be representable."""
        raw = value * (1 << self.f)
        if raw != int(raw) or not self.min_raw <= raw <= self.max_raw:
            raise ValueError(f"{self} must represent its value exactly, not {value!r}")
        return int(raw)

    def __str__(self) -> str:
        if self.f:
            return f"{'' if self.is_signed else 'U'}Fixed({self.i}, {self.f})"
        return f"{'I' if self.is_signed else 'U'}{self.i}"


def Integer(width: int, *, is_signed: bool = True) -> Fixed:  # noqa: N802 - reads as a format
    """Return the integer format of ``width`` bits."""
    return Fixed(width, 0, is_signed)


@dataclass(frozen=True, repr=False)
class Float(NumberFormat):
    """IEEE 754 style binary floating point, seen by hardware as its bits."""

    name: str
    exponent_width: int
    fraction_width: int
    is_signed = False

    @property
    def width(self) -> int:  # type: ignore[override]
        """Bits of one number."""
        return 1 + self.exponent_width + self.fraction_width

    def from_bits(self, raw: int) -> float:
        """Return the Python float; exact for all three formats."""
        if self.exponent_width == 5:
            return float(struct.unpack("<e", struct.pack("<H", raw))[0])
        return float(struct.unpack("<f", struct.pack("<I", raw << 32 - self.width))[0])

    def to_bits(self, value: float) -> int:
        """Return the bits of ``value``; it must be representable."""
        if self.exponent_width == 5:
            raw = struct.unpack("<H", struct.pack("<e", value))[0]
        else:
            raw = struct.unpack("<I", struct.pack("<f", value))[0] >> 32 - self.width
        if self.from_bits(raw) != value and value == value:
            raise ValueError(f"{self} must represent its value exactly, not {value!r}")
        return int(raw)

    def __str__(self) -> str:
        return self.name


I4, I8, I32 = Integer(4), Integer(8), Integer(32)
U8 = Integer(8, is_signed=False)
F16, BF16, F32 = Float("F16", 5, 10), Float("BF16", 8, 7), Float("F32", 8, 23)


def wrap(value: Value, target: NumberFormat) -> Value:
    """Keep the low bits of ``value``: exact whenever the number fits ``target``."""
    missing = target.width - len(value)
    if missing > 0:
        sign = value[-1] if value.shape().signed else Const(0, 1)
        value = Cat(value, sign.replicate(missing))
    low = value[: target.width]
    return low.as_signed() if target.is_signed else low.as_unsigned()


def saturate(value: Value, target: NumberFormat) -> Value:
    """Return ``value``, or the nearest number that ``target`` holds.

    ``value`` is used several times: pass a signal, not an expression.
    """
    low, high = Const(target.min_raw), Const(target.max_raw)
    return wrap(Mux(value < low, low, Mux(value > high, high, value)), target)


def round_shift(value: Value, amount: ValueLike) -> Value:
    """Return ``value / 2**amount`` rounded to nearest, ties up; ``amount`` 0 is exact.

    One spare bit keeps what the shift drops, so that rounding is a carry-in and never a second
    shifter.
    """
    kept = Cat(Const(0, 1), value)
    shifted = (kept.as_signed() if value.shape().signed else kept) >> amount
    return (shifted + 1) >> 1
