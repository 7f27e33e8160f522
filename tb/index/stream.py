"""What a coverage unit is sent for calls of heads, as streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rtl.index.coverage import CoverageUnit
from ..quantize import Int8s, Operands
from ..stalls import FREE, Stall
from ..testbench import Expectation, Stimulus, Testbench, pack
from .exact import CoverageRule, ExactHead
from .key_store import rows_of_rounds

__all__ = ["CoverageCall", "coverage_program"]


@dataclass(frozen=True, eq=False)
class CoverageCall:
    """A call: heads of as many tokens, and how their blocks are selected.

    Parameters
    ----------
    operands : Operands
        Queries and keys of all tokens.
    heads : list
        The exact model's heads: their masses are sent, and their verdicts say whose queries are.
    rule : CoverageRule
        What is asked for.
    """

    operands: Operands
    heads: list[ExactHead]
    rule: CoverageRule

    def rounds(self, heads: int) -> list[tuple[range, range]]:
        """Return the heads of each round, and their KV heads; ``heads`` of a round."""
        q, k = self.operands.q, self.operands.k
        group = len(q) // len(k)
        starts = range(0, len(q), heads)
        of_rounds = [range(start, min(start + heads, len(q))) for start in starts]
        return [(r, range(r[0] // group, r[-1] // group + 1)) for r in of_rounds]


def coverage_program(
    unit: CoverageUnit,
    calls: Sequence[CoverageCall],
    *,
    max_cycles: int,
    round_heads: int | None = None,
    stall: Stall = FREE,
) -> Testbench:
    """Return the streams that make ``unit`` select for all heads of all calls, given their masses.

    Keys of a call must not be there before the unit has taken it: with several calls, whoever runs
    the program holds them back.

    Parameters
    ----------
    unit : CoverageUnit
        The hardware.
    calls : sequence of CoverageCall
        What it is asked for, one after the other.
    max_cycles : int
        Limit.
    round_heads : int, optional
        Heads of a round; as many as have as many KV heads as the unit takes.
    stall : Stall
        Of all streams.
    """
    contents = [_contents(unit, call, round_heads) for call in calls]
    joined = {
        name: {field: np.concatenate([c[name][field] for c in contents]) for field in fields}
        for name, fields in contents[0].items()
    }
    verdicts = [head.verdict for call in calls for head in call.heads]
    rows = sum(len(v.mask) for v in verdicts)
    counts = {
        "o_verdict": len(verdicts),
        "masks": sum(len(v.mask) * -(-len(v.mask) // 32) for v in verdicts),
        "lists": int(sum(v.mask.sum() for v in verdicts)) + rows,
        "o_result": sum(3 if v.pairs else 2 for v in verdicts),
    }
    return Testbench(
        inputs={
            name: Stimulus(pack(getattr(unit, name).payload.shape(), **fields), stall)
            for name, fields in joined.items()
        },
        outputs={name: Expectation(count=count, stall=stall) for name, count in counts.items()},
        max_cycles=max_cycles,
    )


def _contents(
    unit: CoverageUnit, call: CoverageCall, round_heads: int | None
) -> dict[str, dict[str, Any]]:
    """Return what a call sends, by stream and field."""
    operands, heads, numerics = call.operands, call.heads, unit.numerics
    tokens, group = operands.q.shape[1], len(operands.q) // len(operands.k)
    blocks = -(-tokens // numerics.block)
    factors = zip(operands.mantissa.tolist(), operands.shift.tolist(), strict=True)
    asks = [vars(call.rule.ask(blocks, numerics.block, *factor)) for factor in factors]
    asked = {name: [ask[name] for ask in asks] for name in asks[0]}
    rounds = call.rounds(round_heads or group * unit.parameters["key_heads"])
    numbers = np.arange(len(heads) * blocks)
    size = numerics.lane.size
    ahead = {head for r, _ in rounds for head in r[: unit.parameters["heads_ahead"]]}
    read = [
        q
        for number, (q, head) in enumerate(zip(operands.q, heads, strict=True))
        if number in ahead or head.verdict.is_aware
    ]
    return {
        "call": {"heads": [len(heads)], "tokens": [tokens]}
        | {name: asked[name][:1] for name in ("gamma", "limit", "least", "most")},
        "ask": {name: asked[name] for name in ("mantissa", "shift")}
        | {
            "key_head": [head // group - of[0] for r, of in rounds for head in r],
            "ahead": [head in ahead for r, _ in rounds for head in r],
            "ends": [head == r[-1] for r, _ in rounds for head in r],
        },
        "i_mass": {
            "vertical": np.concatenate([head.masses.vertical for head in heads]),
            "slash": np.concatenate([head.masses.slash[::-1] for head in heads]),
            "mean": np.concatenate([head.masses.mean for head in heads]),
            "last": numbers % blocks == blocks - 1,
        },
        "i_key": rows_of_rounds([operands.k[of.start : of.stop] for _, of in rounds], size),
        "i_query": _rows_of(read, size),
    }


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
