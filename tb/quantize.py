"""From float tensors to what a lane is given: integers with a scale per head, score factors."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.lane.numerics import Numerics
from .attention import Floats
from .errors import InputError
from .formats import Ints
from .tensors import Shape, as_tensors, check_shapes

__all__ = ["Int8s", "Operands", "encode_factor", "quantize", "quantize_heads"]

Int8s = NDArray[np.int8]
"""Operands, of 8 bits or of 4."""

_MANTISSA, _SHIFT_MAX = 1 << Numerics.mantissa_width, (1 << Numerics.shift_width) - 1


def quantize_heads(x: Floats, width: int = 8) -> tuple[Int8s, Floats]:
    """Return numbers of ``width`` bits of ``(..., heads, tokens, head_dim)``, and scales of heads.

    Symmetric: the largest magnitude of a head becomes the largest number, 127 of 8 bits. Ties round
    to even. A head of zeros has scale 0.
    """
    largest = (1 << width - 1) - 1
    scale: Floats = np.abs(x).max(axis=(-2, -1)) / largest
    divisor = np.where(scale > 0, scale, 1)[..., None, None]
    return np.clip(np.rint(x / divisor), -largest, largest).astype(np.int8), scale


def encode_factor(factor: float, fraction: int) -> tuple[int, int]:
    """Return mantissa and shift with ``mantissa / 2**shift`` nearest to ``factor * 2**fraction``.

    The mantissa has 17 bits, all of them used unless the factor is below about ``2**-46``.

    Raises
    ------
    InputError
        When the factor is negative, not finite or too large for a shift of at least 0.
    """
    largest = float(_MANTISSA - 1) / (1 << fraction)
    if not 0 <= factor <= largest:
        raise InputError(
            f"A factor must be 0 to {largest:g}, not {factor:g}; scale what it multiplies down"
        )
    exponent = math.frexp(factor)[1] + fraction
    shift = min(Numerics.mantissa_width - exponent, _SHIFT_MAX)
    mantissa = round(math.ldexp(factor, fraction + shift))
    if mantissa == _MANTISSA:  # rounded up to the next power of two
        return mantissa >> 1, shift - 1
    return mantissa, shift


@dataclass(frozen=True)
class Operands:
    """Quantized inputs of an attention call.

    Members
    -------
    q, k, v : int8 arrays, shaped as the tensors they come from
        Queries, keys, values, within the range of their operand.
    q_scale, k_scale, v_scale : float64
        Scale of each head: ``(heads,)`` or ``(batch, heads)``.
    mantissa, shift : int64
        The score factor of each query head: what makes its scores base-2 scores.
    """

    q: Int8s
    k: Int8s
    v: Int8s
    q_scale: Floats
    k_scale: Floats
    v_scale: Floats
    mantissa: Ints
    shift: Ints

    @property
    def shape(self) -> Shape:
        """Sizes of the attention call."""
        return check_shapes(self.q, self.k, self.v)

    def floats(self) -> tuple[Floats, Floats, Floats]:
        """Return Q, K and V that the integers stand for: the inputs of a fair reference."""
        return (
            self.q * self.q_scale[..., None, None],
            self.k * self.k_scale[..., None, None],
            self.v * self.v_scale[..., None, None],
        )

    def dequantize(self, raw: ArrayLike) -> Floats:
        """Return the numbers that raw outputs of the lane stand for."""
        scale = np.repeat(self.v_scale, self.shape.group, axis=-1)[..., None, None]
        return np.asarray(raw) / (1 << Numerics.out_fraction) * scale


def quantize(
    q: Any, k: Any, v: Any, numerics: Numerics, *, query_bits: int | None = None
) -> Operands:
    """Quantize float tensors for a lane.

    Parameters
    ----------
    q, k, v : array_like
        As :func:`qkloom.tb.attention.attention` takes them.
    numerics : Numerics
        The numbers of the lane.
    query_bits : int, optional
        Bits of queries; ``numerics.stream_width`` when absent, which is also the most.

    Raises
    ------
    ValueError
        When the tensors are no such tensors, or scores may be too large for the lane.
    """
    q, k, v = as_tensors(q, k, v, dtype=np.float64)
    shape = check_shapes(q, k, v)
    (q8, q_scale), (k8, k_scale), (v8, v_scale) = (
        quantize_heads(x, width)
        for x, width in (
            (q, query_bits or numerics.stream_width),
            (k, numerics.stationary_width),
            (v, numerics.stationary_width),
        )
    )
    with np.errstate(over="ignore"):  # infinity is refused below
        factors = q_scale * np.repeat(k_scale, shape.group, axis=-1)
    factors = factors * (math.log2(math.e) / math.sqrt(shape.head_dim))
    limit = 1 << Numerics.max_width - 1
    highest_score = shape.head_dim << numerics.stream_width + numerics.stationary_width - 2
    for index, factor in np.ndenumerate(factors):
        highest = highest_score * float(factor)
        if not highest < limit:
            raise ValueError(
                f"Scores in base 2 must stay below {limit}, not up to {highest:.4g} in head "
                f"{index[-1]}; scale Q or K down"
            )
    encoded = [encode_factor(float(factor), numerics.fraction) for factor in factors.flat]
    mantissa, shift = np.array(encoded, np.int64).T.reshape(2, *factors.shape)
    return Operands(q8, k8, v8, q_scale, k_scale, v_scale, mantissa, shift)
