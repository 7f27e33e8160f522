"""What a head takes, bit for bit as the exact model says."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.head import HeadSelector
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.index.selector import CoverageSelector
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.index.code import encode
from qkloom.tb.index.head import Ask, select_head
from qkloom.tb.index.masses import BlockMasses
from qkloom.tb.simulate import from_bits, simulate, to_bits

BLOCKS = 24
NUMBERS = IndexNumerics(lane=Numerics(size=4, head_dim=64, tokens=8192), block=128, tokens=8192)
PARAMETERS = {
    "blocks": BLOCKS,
    "mass_width": NUMBERS.mass_width,
    "mean_width": NUMBERS.mean_width,
    "mean_fraction": NUMBERS.mean_fraction,
    "fraction": NUMBERS.lane.fraction,
}
PASSES = CoverageSelector(candidates=BLOCKS).passes


def head(rng, n, *, agree, gamma=0.9, tau=0.1, least=1, most=BLOCKS):
    """Return masses, what is asked, and shares of pairs."""
    mantissa, shift = int(rng.integers(1 << 16, 1 << 17)), int(rng.integers(12, 18))
    factor = mantissa / 2**shift / 2**NUMBERS.lane.fraction
    x = rng.normal(0, 2, n)
    mean = np.rint(x / factor * 2**NUMBERS.mean_fraction).astype(np.int64)
    p = 2.0 ** (x + rng.normal(0, 1 - agree, n))
    one = 1 << NUMBERS.mass_fraction
    vertical = np.floor(p / p.sum() * 128 * one).astype(np.int64)
    slash = np.floor(rng.dirichlet(np.full(n, 0.3)) * 127 * one).astype(np.int64)
    ask = Ask(
        mantissa=mantissa,
        shift=shift,
        gamma=NUMBERS.encode_gamma(gamma),
        limit=NUMBERS.encode_tau(tau),
        least=least,
        most=most,
    )
    pairs = np.concatenate(
        [
            np.floor(rng.dirichlet(np.full(r + 1, 0.5)) * (1 << NUMBERS.pair_fraction))
            for r in range(n)
        ]
    ).astype(np.int64)
    return BlockMasses(vertical, slash, mean), ask, pairs


def check(heads, *, pairs=True, **options):
    """Run heads; everything must be the model's. Return the log."""
    dut = HeadSelector(**PARAMETERS, pairs=pairs)
    expected = [
        select_head(masses, ask, NUMBERS, pairs=of_pairs if pairs else None)
        for masses, ask, of_pairs in heads
    ]
    sent = {"ask": [], "i_mass": [], "i_pair": []}
    for (masses, ask, of_pairs), verdict in zip(heads, expected, strict=True):
        n = len(masses.mean)
        sent["ask"].append(vars(ask))
        sent["i_mass"] += [
            {
                "vertical": int(masses.vertical[b]),
                "slash": int(masses.slash[n - 1 - b]),
                "mean": int(masses.mean[b]),
                "last": int(b == n - 1),
            }
            for b in range(n)
        ]
        if verdict.is_aware:
            codes = encode(of_pairs, fraction=NUMBERS.code_fraction).tolist()
            sent["i_pair"] += PASSES * [
                {"code": code, "always": 0, "last": int(i == len(codes) - 1)}
                for i, code in enumerate(codes)
            ]
    if not pairs:
        del sent["i_pair"]
    log = simulate(
        dut,
        inputs={
            name: [to_bits(getattr(dut, name).payload.shape(), item) for item in items]
            for name, items in sent.items()
        },
        outputs=["o_verdict", "o", "o_result"],
        cycles=200_000,
        idle=1500,
        **options,
    )
    found = {
        name: [from_bits(getattr(dut, name).payload.shape(), bits) for bits in log[name].items]
        for name in ("o_verdict", "o", "o_result")
    }
    assert found["o_verdict"] == [
        {
            "blocks": len(v.columns.taken),
            "is_aware": int(v.is_aware),
            "divergence": v.divergence,
        }
        for v in expected
    ]
    kinds = [kind for v in expected for kind in (v.columns, v.diagonals, v.pairs) if kind]
    assert found["o"] == [
        {"taken": int(taken), "last": int(i == len(kind.taken) - 1)}
        for kind in kinds
        for i, taken in enumerate(kind.taken)
    ]
    assert found["o_result"] == [
        {"count": k.count, "mass": k.mass, "total": k.total, "flat": int(k.flat)} for k in kinds
    ]
    return expected, log


@pytest.mark.parametrize("seed", range(3))
def test_heads_under_stalls(seed):
    rng = np.random.default_rng(seed)
    heads = [
        head(rng, int(rng.integers(1, BLOCKS + 1)), agree=agree, **changes)
        for agree, changes in (
            (1.0, {}),
            (0.0, {"least": 3}),
            (1.0, {"gamma": 0.5, "most": 4}),
            (0.9, {"gamma": 1}),
            (0.2, {"gamma": 0}),
        )
    ]
    pace = dict.fromkeys(("ask", "i_mass", "i_pair", "o_verdict", "o", "o_result"), 0.6)
    expected, _ = check(heads, pace=pace, seed=seed)
    assert {v.is_aware for v in expected} == {False, True}


def test_without_pairs_no_head_is_query_aware():
    rng = np.random.default_rng(4)
    heads = [head(rng, 9, agree=1.0), head(rng, 24, agree=0.5)]
    expected, _ = check(heads, pairs=False)
    assert not any(v.is_aware for v in expected)


def test_tau_0_and_tau_1():
    rng = np.random.default_rng(5)
    heads = [head(rng, 9, agree=1.0, tau=0), head(rng, 9, agree=-5, tau=1)]
    expected, _ = check(heads)
    assert [v.is_aware for v in expected] == [False, True]


def test_the_least_of_columns_is_none_of_pairs():
    rng = np.random.default_rng(8)
    expected, _ = check([head(rng, 9, agree=1.0, gamma=0.02, least=9)])
    assert expected[0].is_aware
    assert expected[0].pairs.count < 9


def test_a_single_block_and_equal_ones():
    rng = np.random.default_rng(6)
    one = head(rng, 1, agree=1.0)
    flat, ask, pairs = head(rng, 10, agree=1.0, tau=0)
    equal = BlockMasses(np.full(10, 1 << 27), np.full(10, 1 << 27), np.zeros(10, np.int64))
    expected, _ = check([one, (equal, ask, pairs), (flat, ask, pairs)])
    assert [v.columns.flat for v in expected] == [True, True, False]
    assert expected[1].columns.taken.tolist() == 9 * [True] + [False]  # in order of numbers


def test_cycles():
    n = BLOCKS
    _, log = check([head(np.random.default_rng(7), n, agree=0.0)])
    assert log["o_verdict"].cycles[0] <= 3 * n + 110
    a_kind = 3 * n + 2 * 256 + CoverageSelector(candidates=BLOCKS).overhead + 2
    assert np.diff(log["o_result"].cycles).tolist() == [a_kind - 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 0}, "Blocks must be a positive integer, not 0"),
        ({"mass_width": 33}, "Mass width must be at most 32, not 33"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        emit(HeadSelector(**(PARAMETERS | changes)))


def test_it_converts():
    emit(HeadSelector(**PARAMETERS))
