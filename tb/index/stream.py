"""What a coverage unit is sent for the heads of a call, as streams."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rtl.index.coverage import CoverageUnit
from ..quantize import Int8s, Operands
from ..stalls import FREE, Stall
from ..testbench import Expectation, Stimulus, Testbench, pack
from .exact import CoverageRule, ExactHead

__all__ = ["coverage_program"]


def coverage_program(
    unit: CoverageUnit,
    operands: Operands,
    heads: list[ExactHead],
    rule: CoverageRule,
    *,
    max_cycles: int,
    stall: Stall = FREE,
) -> Testbench:
    """Return the streams that make ``unit`` select for all heads, given their masses.

    Parameters
    ----------
    unit : CoverageUnit
        The hardware.
    operands : Operands
        Queries and keys of all tokens.
    heads : list
        The exact model's heads: their masses are sent, and their verdicts say whose queries are.
    rule : CoverageRule
        What is asked for.
    max_cycles : int
        Limit.
    stall : Stall
        Of all streams.
    """
    numerics = unit.numerics
    tokens, group = operands.q.shape[1], len(operands.q) // len(operands.k)
    blocks = -(-tokens // numerics.block)
    factors = zip(operands.mantissa.tolist(), operands.shift.tolist(), strict=True)
    asks = [vars(rule.ask(blocks, numerics.block, *factor)) for factor in factors]
    size = numerics.lane.size
    aware = [q for q, head in zip(operands.q, heads, strict=True) if head.verdict.is_aware]
    numbers = np.arange(len(heads) * blocks)
    contents = {
        "ask": {name: [ask[name] for ask in asks] for name in asks[0]}
        | {"tokens": tokens, "new_keys": np.arange(len(heads)) % group == 0},
        "i_mass": {
            "vertical": np.concatenate([head.masses.vertical for head in heads]),
            "slash": np.concatenate([head.masses.slash[::-1] for head in heads]),
            "mean": np.concatenate([head.masses.mean for head in heads]),
            "last": numbers % blocks == blocks - 1,
        },
        "i_key": _rows_of(list(operands.k), size),
        "i_query": _rows_of(aware, size),
    }
    masks = [head.verdict.mask for head in heads]
    kinds = sum(3 if head.verdict.pairs else 2 for head in heads)
    counts = {
        "o_verdict": len(heads),
        "masks": len(heads) * blocks * -(-blocks // 32),
        "lists": int(sum(mask.sum() for mask in masks)) + len(heads) * blocks,
        "o_result": kinds,
    }
    return Testbench(
        inputs={
            name: Stimulus(pack(getattr(unit, name).payload.shape(), **fields), stall)
            for name, fields in contents.items()
        },
        outputs={name: Expectation(count=count, stall=stall) for name, count in counts.items()},
        max_cycles=max_cycles,
    )


def _rows_of(heads: list[Int8s], size: int) -> dict[str, Any]:
    """Return chunks of all tokens in whole tiles; what is beyond does not count."""
    chunks: list[NDArray[np.int8]] = [np.zeros((0, size), np.int8)]
    per_token = 1
    for x in heads:
        tokens, head_dim = x.shape
        filled = np.full((-(-tokens // size) * size, head_dim), 77, np.int8)
        filled[:tokens] = x
        chunks.append(filled.reshape(-1, size))
        per_token = head_dim // size
    rows = np.concatenate(chunks)
    return {"row": rows, "last": np.arange(len(rows)) % per_token == per_token - 1}
