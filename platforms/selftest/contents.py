"""What the ROMs of a self test hold: an attention call, and its outputs by the exact model."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ...rtl.core import Core
from ...rtl.lane.numerics import Numerics
from ...tb.core import program
from ...tb.deal import Call
from ...tb.exact import exact_attention
from ...tb.packing import Words, pack
from ...tb.quantize import quantize

__all__ = ["CORE", "Contents", "make_contents"]

CORE: Mapping[str, Any] = MappingProxyType(
    {
        "lanes": ("plain",),
        "size": 4,
        "block_rows": 8,
        "head_dim": 8,
        "tokens": 64,
        "p_width": 8,
        "segments": 8,
        "fraction": 8,
        "row_width": 2,
        "out_width": 2,
    }
)
"""A core that a small FPGA has room for: everything of a large one, in a 4x4 array."""

HEADS, TOKENS = 2, 16


@dataclass(frozen=True)
class Contents:
    """An attention call in the words of a core's streams.

    Members
    -------
    jobs, queries, keys, values : tuple of int
        Bits of each payload that the core receives.
    outputs : tuple of int
        Bits of each payload that it must answer, in this order.
    """

    jobs: tuple[int, ...]
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    values: tuple[int, ...]
    outputs: tuple[int, ...]


def make_contents(core: Core, *, seed: int = 0) -> Contents:
    """Return causal attention on random tensors, for a core of one lane.

    The same seed gives the same words. There are as many query blocks as make a core end in the
    slot where it did not begin, so that the call can follow upon itself.

    Parameters
    ----------
    core : Core
        Of one lane.
    seed : int
        Of the tensors.

    Raises
    ------
    ValueError
        When the core has several lanes, whose outputs have no order of their own.
    """
    if core.n_lanes != 1:
        raise ValueError(f"A self test needs a core of one lane, not of {core.n_lanes}")
    lane = core.lane_parameters
    block_rows, head_dim = lane["block_rows"], lane["head_dim"]
    names = ("size", "head_dim", "tokens", "p_width", "segments", "fraction")
    numerics = Numerics(**{name: lane[name] for name in names})
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(3, HEADS, TOKENS, head_dim))
    operands = quantize(q, k, v, numerics)
    call = Call(
        q=operands.q,
        k=operands.k,
        v=operands.v,
        mantissa=operands.mantissa,
        shift=operands.shift,
        causal=True,
    )
    raw = exact_attention(
        call.q, call.k, call.v, call.mantissa, call.shift, numerics,
        block_rows=block_rows, causal=True,
    )  # fmt: skip
    rows = raw.reshape(-1, lane["out_width"])
    per_block = block_rows * head_dim // lane["out_width"]  # `last` is of a query block
    last = np.arange(len(rows)) % per_block == per_block - 1
    sent = program(core, call, max_cycles=0).inputs
    jobs, queries, keys, values = (
        _integers(np.asarray(sent[name].values))
        for name in ("i_job", "i_query", "i_key", "i_value")
    )
    shape = core.o.payload.shape()
    outputs = _integers(pack(shape, index=0, item={"row": rows, "last": last}))
    return Contents(jobs, queries, keys, values, outputs)


def _integers(words: Words) -> tuple[int, ...]:
    return tuple(int.from_bytes(row.astype("<u4").tobytes(), "little") for row in words)
