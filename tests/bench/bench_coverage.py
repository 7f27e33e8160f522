"""Cycles that coverage takes: lanes that score heads' last queries, and the unit that selects.

The bound is that of what is computed: MACs of scores over MACs of the lanes, or exponentials over
row units, whichever takes longer. Lanes are fed from streams that always move.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from qkloom.gen.call import build_core
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
from qkloom.rtl.component import pass_over
from qkloom.rtl.core import Core
from qkloom.rtl.index.coverage import CoverageUnit
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.tb.core import scoring_program
from qkloom.tb.deal import Call
from qkloom.tb.engines import run
from qkloom.tb.index.contexts import generate
from qkloom.tb.index.exact import CoverageRule, ExactHead, exact_coverage
from qkloom.tb.index.stream import CoverageCall, coverage_program
from qkloom.tb.quantize import Operands, quantize
from qkloom.tb.testbench import unpack

TOKENS, HEADS, KV_HEADS, HEAD_DIM = 4096, 8, 2, 64
FAMILIES = ("verticals", "needles")


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    description = read_chip("u280-small")
    plain = build_core(description)
    pass_over(plain)
    core = Core(**dict(plain.parameters) | {"index_tokens": TOKENS})
    lane = core.lane_parameters
    design = emit(core)
    for family in FAMILIES:
        context = generate(
            family, TOKENS, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, seed=1, block=128
        )
        operands = quantize(context.q, context.k, context.k, description.numerics)
        numerics = IndexNumerics(lane=description.numerics, block=128, tokens=TOKENS)
        heads = exact_coverage(
            operands.q, operands.k, operands.mantissa, operands.shift, numerics, CoverageRule()
        )
        cycles = _score(core, design, operands, heads)
        pairs = HEADS * 128 * TOKENS
        bound = pairs / core.n_lanes * max(HEAD_DIM / lane["size"] ** 2, 1 / lane["row_width"])
        yield {
            "name": f"{family}, {TOKENS:,} tokens, {HEADS} heads: scores of last queries",
            "value": cycles,
            "unit": "cycles",
            "asked": 1.1 * bound,
            "better": "less",
            "how": f"u280-small, its four lanes, without memory; the bound is {bound:,.0f}",
        }
        unit = CoverageUnit(
            size=lane["size"],
            head_dim=lane["head_dim"],
            block=128,
            tokens=TOKENS,
            lane_tokens=lane["tokens"],
            p_width=lane["p_width"],
            segments=lane["segments"],
            fraction=lane["fraction"],
            heads=HEADS,
            key_heads=KV_HEADS,
            dot_width=HEAD_DIM,
        )
        call = CoverageCall(operands, heads, CoverageRule())
        program = coverage_program(unit, [call], max_cycles=10_000_000)
        result = run(emit(unit), program)
        aware = sum(head.verdict.is_aware for head in heads)
        yield {
            "name": f"{family}: selection of all heads, beside the scores",
            "value": result.cycles,
            "unit": "cycles",
            "asked": cycles,
            "better": "less",
            "how": f"{aware} of {HEADS} heads query-aware; for each also their queries",
        }
    yield from _latencies()


def _latencies() -> Iterator[dict[str, Any]]:
    """Yield what a head takes from its last mass to its last word of masks: small vectors."""
    size, most = 8, 1024
    unit = CoverageUnit(
        size=size,
        head_dim=size,
        block=size,
        tokens=most * size,
        lane_tokens=most * size,
        p_width=14,
        segments=8,
        fraction=10,
        heads=1,
        key_heads=1,
        dot_width=size,
    )
    design = emit(unit)
    rng = np.random.default_rng(1)
    for blocks in (32, most):
        q, k = rng.normal(size=(2, 1, blocks * size, size))
        operands = quantize(q, k, k, unit.numerics.lane)
        factors = operands.mantissa, operands.shift
        for tau, kind in ((0.0, "vertical-slash"), (1.0, "query-aware")):
            rule = CoverageRule(tau=tau, min_budget=0)
            heads = exact_coverage(operands.q, operands.k, *factors, unit.numerics, rule)
            call = CoverageCall(operands, heads, rule)
            result = run(design, coverage_program(unit, [call], max_cycles=10_000_000))
            moved = result.transfers
            pairs = blocks * (blocks + 1) // 2
            # Comparison, columns, diagonals; then words or lists, or pairs four times.
            listed = blocks + int(heads[0].verdict.mask.sum())
            told = max(blocks * -(-blocks // 32), listed)
            bound = 9 * blocks + (4 * pairs if tau else told)
            yield {
                "name": f"{kind} head of {blocks:,} blocks: from its last mass to its masks",
                "value": int(moved["masks"][-1] - moved["i_mass"][-1]),
                "unit": "cycles",
                "asked": 1.1 * bound + 2000,
                "better": "less",
                "how": f"verdict after {int(moved['o_verdict'][0] - moved['i_mass'][-1]):,} cycles,"
                f" first word of masks after {int(moved['masks'][0] - moved['i_mass'][-1]):,}",
            }


def _score(core: Core, design: Any, operands: Operands, heads: list[ExactHead]) -> int:
    """Run the lanes, compare the masses, and return the cycles."""
    q, k = operands.q[:, -128:], operands.k
    call = Call(
        q, k, k, operands.mantissa, operands.shift, causal=True, q_start=k.shape[1] - q.shape[1]
    )
    result = run(design, scoring_program(core, call, max_cycles=10_000_000))
    found = unpack(core.o_mass.payload.shape(), result.outputs["o_mass"])
    expected = np.concatenate([head.masses.vertical for head in heads])
    if not np.array_equal(found["vertical"], expected):
        raise RuntimeError("The lanes do not find the model's masses")
    return result.cycles
