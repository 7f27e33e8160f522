"""An attention call on a chip: checked, quantized, and answered by the exact model."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..platforms.targets import TARGETS
from ..rtl.core import Core
from ..rtl.kernel.kernel import Kernel
from ..tb.attention import Bools
from ..tb.deal import Call
from ..tb.design import Design
from ..tb.exact import exact_attention
from ..tb.kernel.image import CHANNEL_BYTES, Image
from ..tb.memory.parameters import MemoryModel
from ..tb.quantize import Operands, quantize
from ..tb.selection import as_block_mask
from ..tb.tensors import InputError, Shape, Tensors, as_tensors, check_shapes
from .chip import ChipDescription
from .emit import emit

__all__ = [
    "Prepared",
    "build_core",
    "build_kernel",
    "check_fits",
    "emitted_kernel",
    "memory_model",
    "prepare",
]


class Prepared(NamedTuple):
    """An attention call, ready to be sent to a core.

    Members
    -------
    tensors : Tensors
        The tensors as given, the scale made part of the queries.
    operands : Operands
        The same, quantized.
    call : Call
        The same with batch and heads in one axis, and head_dim padded to whole tiles.
    expected : int64 array
        What the exact model says, as the queries.
    cycle_limit : int
        More cycles than a run takes that gets on.
    dtype : dtype
        Of the output: float64 if one of the tensors is, else float32.
    """

    tensors: Tensors
    operands: Operands
    call: Call
    expected: NDArray[np.int64]
    cycle_limit: int
    dtype: np.dtype[Any]


def build_core(description: ChipDescription) -> Core:
    """Return the hardware of a description."""
    return Core(lanes=description.matrices, **description.lane_parameters)


def build_kernel(description: ChipDescription) -> Kernel:
    """Return the hardware of a description with its registers and buses."""
    return Kernel(**description.kernel_parameters)


def emitted_kernel(description: ChipDescription, verilog: bool) -> tuple[Kernel, Design]:
    """Emit a chip once for any number of runs: as its target builds it, if it is Verilog.

    Chips that differ only in what their calls are told, such as gamma, have one design.
    """
    parameters = tuple(description.kernel_parameters.items())
    return _emitted(parameters, description.identifier, description.target if verilog else None)


@functools.lru_cache(maxsize=4)
def _emitted(
    parameters: tuple[tuple[str, Any], ...], name: str, target: str | None
) -> tuple[Kernel, Design]:
    kernel = Kernel(**dict(parameters))
    verilog = target is not None
    return kernel, emit(kernel, name=name, verilog=verilog, target=TARGETS[target or "generic"])


def memory_model(description: ChipDescription, image: Image) -> MemoryModel:
    """Return a memory that is large enough for an image, at the clock of a chip."""
    return MemoryModel(
        clock_hz=round(description.clock_mhz * 1e6),
        n_channels=description.memory.channels,
        channel_bytes=CHANNEL_BYTES,
        storage_bytes=max(image.sizes),
    )


def check_fits(description: ChipDescription, what: str, value: int, most: int) -> None:
    """Refuse tensors that are larger than a chip takes.

    Raises
    ------
    InputError
        With what there is too much of.
    """
    if value > most:
        raise InputError(
            f"{description.name} takes {what} up to {most}, not {value}; "
            "cut the tensors, or describe a larger chip"
        )


def prepare(
    description: ChipDescription,
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    q_start: int = 0,
    scale: float | None = None,
    query_bits: int | None = None,
    block_mask: Any = None,
    choose: Callable[[Call], Bools] | None = None,
) -> Prepared:
    """Check and quantize tensors, and compute what the hardware must answer.

    Parameters are those of :meth:`qkloom.Chip.simulate`; ``choose`` makes a selection of a call
    without one, in place of ``block_mask``.

    Raises
    ------
    InputError
        When the tensors are no attention call, or one that the chip is too small for.
    """
    if not isinstance(causal, bool | np.bool_):
        raise TypeError(f"causal must be True or False, not {causal!r}")
    if not isinstance(q_start, int | np.integer):
        raise TypeError(f"q_start must be an integer, not {q_start!r}")
    if scale is not None and not isinstance(scale, int | float | np.integer | np.floating):
        raise TypeError(f"scale must be a number, not {scale!r}")
    width = description.stream_width
    if query_bits is not None and (
        not isinstance(query_bits, int | np.integer) or not 2 <= query_bits <= width
    ):
        raise InputError(
            f"query_bits must be 2 to {width}, the stream_width of {description.name}, "
            f"not {query_bits!r}; choose one of these, or leave it out"
        )
    q, k, v = as_tensors(q, k, v)
    dtype = np.result_type(q, k, v)
    n_q, n_kv, head_dim = q.shape[-2], k.shape[-2], q.shape[-1]
    check_fits(description, "head_dim (last axis)", head_dim, description.head_dim)
    check_fits(description, "queries (axis before the last of q)", n_q, description.tokens)
    check_fits(description, "keys (axis before the last of k)", n_kv, description.tokens)
    if q_start and not causal:
        raise InputError(f"q_start must be 0 unless causal is chosen, not {q_start}; choose it")
    if abs(q_start) > description.tokens:
        raise InputError(
            f"q_start must be {-description.tokens} to {description.tokens}, not {q_start}; "
            "positions count from the first key"
        )
    if scale is not None:
        if not math.isfinite(scale):
            raise InputError(f"scale must be a finite number, not {scale}; leave it out")
        # The lane divides by sqrt(head_dim); anything else becomes part of the queries.
        with np.errstate(over="ignore"):
            q = q.astype(np.float64) * (scale * math.sqrt(head_dim))
        if not np.isfinite(q).all():
            raise InputError(
                f"scale times q must stay finite, and does not with {scale:g}; use a smaller scale"
            )
    numerics, block = description.numerics, description.block
    mask = _mask(description, block_mask, check_shapes(q, k, v))
    try:
        operands = quantize(q, k, v, numerics, query_bits=query_bits)
    except ValueError as error:
        raise InputError(str(error)) from error
    call = Call(
        q=_fold(operands.q, description.size),
        k=_fold(operands.k, description.size),
        v=_fold(operands.v, description.size),
        mantissa=operands.mantissa.reshape(-1),
        shift=operands.shift.reshape(-1),
        causal=causal,
        q_start=q_start,
        query_bits=query_bits or numerics.stream_width,
        block_mask=None if mask is None else mask.reshape(-1, *mask.shape[-2:]),
    )
    if choose is not None:
        call = replace(call, block_mask=choose(call))
        assert call.block_mask is not None
        mask = call.block_mask.reshape(*operands.mantissa.shape, *call.block_mask.shape[-2:])
    expected = exact_attention(
        operands.q,
        operands.k,
        operands.v,
        operands.mantissa,
        operands.shift,
        numerics,
        block_rows=block,
        causal=causal,
        q_start=q_start,
        block_mask=mask,
    )
    # As if one lane did it all, slowly.
    passes = -(-n_kv // description.size) * -(-head_dim // description.size)
    rows = len(call.q) * (n_q + block)
    planes = numerics.stream_width if description.has_runtime_precision else 1
    cycle_limit = 50_000 + 4 * rows * passes * (1 + numerics.digits) * planes
    return Prepared(Tensors(q, k, v), operands, call, expected, cycle_limit, dtype)


def _mask(description: ChipDescription, block_mask: Any, shape: Shape) -> Bools | None:
    """Return a selection, (batch, heads, query blocks, KV blocks)."""
    if block_mask is None:
        return None
    if not description.sparse:
        raise InputError(
            f"{description.name} takes no block_mask; describe a chip with sparse = true"
        )
    pairs = as_block_mask(block_mask, description.block, shape)
    return pairs.reshape(shape.batch, shape.heads, *pairs.shape[-2:])


def _fold(x: NDArray[np.int8], size: int) -> NDArray[np.int8]:
    """Join batch and heads, and pad head_dim with zeros, which add nothing to any sum."""
    padding = -x.shape[-1] % size
    return np.pad(x.reshape(-1, *x.shape[-2:]), ((0, 0), (0, 0), (0, padding)))
