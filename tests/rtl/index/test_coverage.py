"""The coverage unit selects what its exact model does, head after head."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.coverage import CoverageUnit
from qkloom.tb.engines import run
from qkloom.tb.index.contexts import generate
from qkloom.tb.index.exact import CoverageRule, exact_coverage
from qkloom.tb.index.stream import coverage_program
from qkloom.tb.quantize import quantize
from qkloom.tb.stalls import Stall
from qkloom.tb.tensors import default_tensors
from qkloom.tb.testbench import unpack

SMALL = {
    "size": 8,
    "head_dim": 32,
    "block": 16,
    "tokens": 512,
    "lane_tokens": 512,
    "p_width": 14,
    "segments": 8,
    "fraction": 10,
    "dot_width": 32,
}


def check(q, k, rule, *, stall=0.0, **changes):
    """Run a call of heads; everything must be the model's. Return verdicts and cycles."""
    unit = CoverageUnit(**(SMALL | changes))
    numerics = unit.numerics
    operands = quantize(q, k, k, numerics.lane)
    heads = exact_coverage(
        operands.q, operands.k, operands.mantissa, operands.shift, numerics, rule
    )
    n = -(-q.shape[1] // numerics.block)
    verdicts = [head.verdict for head in heads]
    kinds = [x for v in verdicts for x in (v.columns, v.diagonals, v.pairs) if x]
    testbench = coverage_program(
        unit, operands, heads, rule, max_cycles=400_000, stall=Stall(stall, seed=3)
    )
    result = run(emit(unit), testbench)
    found = {
        name: unpack(getattr(unit, name).payload.shape(), result.outputs[name])
        for name in testbench.outputs
    }
    assert found["o_verdict"]["is_aware"].tolist() == [int(v.is_aware) for v in verdicts]
    assert found["o_verdict"]["divergence"].tolist() == [v.divergence for v in verdicts]
    assert found["o_verdict"]["blocks"].tolist() == len(heads) * [n]
    bits = found["masks"]["mask"].reshape(len(heads), n, -1)[..., None] >> np.arange(32) & 1
    masks = bits.reshape(len(heads), n, -1)[..., :n].astype(bool)
    assert (masks == np.array([v.mask for v in verdicts])).all()
    lists = iter(zip(found["lists"]["block"].tolist(), found["lists"]["end"].tolist(), strict=True))
    for verdict in verdicts:
        for row in verdict.mask:
            listed = []
            for block, end in lists:
                if end:
                    break
                listed.append(block)
            assert listed == np.flatnonzero(row).tolist()
    assert found["o_result"]["count"].tolist() == [kind.count for kind in kinds]
    return verdicts, result.cycles


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_real_tensors(stall):
    tensors = default_tensors()
    q, k = np.asarray(tensors.q)[:4], np.asarray(tensors.k)[:4]
    verdicts, _ = check(q, k, CoverageRule(min_budget=32), stall=stall)
    assert {v.is_aware for v in verdicts} == {False, True}


@pytest.mark.parametrize("family", ["sinks", "needles", "mixed", "flat"])
def test_groups_of_planted_contexts(family):
    # Two heads of a KV head: the second one takes the keys of the first.
    context = generate(family, 450, heads=4, kv_heads=2, head_dim=64, seed=1, block=16)
    check(context.q, context.k, CoverageRule(min_budget=0), head_dim=64, dot_width=16, size=16)


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 100, 511])
def test_any_length(tokens):
    rng = np.random.default_rng(tokens)
    q, k = rng.normal(size=(3, tokens, 32)), rng.normal(size=(3, tokens, 32))
    check(q, k, CoverageRule(gamma=0.7, tau=0.3, min_budget=0), stall=0.2)


def test_with_gamma_1_every_block_is_selected():
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 2, 200, 32))
    verdicts, _ = check(q, k, CoverageRule(gamma=1))
    assert all((v.mask == np.tril(np.ones(v.mask.shape, bool))).all() for v in verdicts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 12}, "Block must be a power of two from 2 to 128, not 12"),
        ({"tokens": 0}, "Tokens must be a positive integer, not 0"),
        ({"dot_width": 12}, "Head dimension must be a multiple of the width, 12, not 32"),
        ({"p_width": 3}, "P_width must be 7 to 16 when stream_width is 8, not 3"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        emit(CoverageUnit(**(SMALL | changes)))


def test_it_converts():
    emit(CoverageUnit(**SMALL))
