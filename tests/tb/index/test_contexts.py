"""Contexts hold what was planted, rules find it, and rounding to int8 changes little."""

import tracemalloc

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.contexts import families, generate
from qkloom.tb.index.coverage import coverage
from qkloom.tb.index.flexprefill import flexprefill
from qkloom.tb.index.planted import attention_of, covered_share, planted_share
from qkloom.tb.index.pool import block_sums
from qkloom.tb.quantize import quantize_heads

FAMILIES = list(families())
PLANTED = [family for family in FAMILIES if family != "flat"]

SIZES = [  # tokens, block, head_dim
    (512, 16, 32),
    (1000, 16, 64),
    (2048, 64, 64),
]


def made(family, tokens=4096, block=128, head_dim=64, seed=0, heads=4):
    return generate(
        family, tokens, heads=heads, kv_heads=2, head_dim=head_dim, seed=seed, block=block
    )


def rounded(x):
    whole, scale = quantize_heads(x.astype(float))
    return whole * scale[:, None, None]


def jaccard(a, b):
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", PLANTED)
def test_the_last_queries_attend_to_what_is_planted(family, size):
    tokens, block, head_dim = size
    context = made(family, tokens, block, head_dim)
    rows = np.arange(tokens - block, tokens)
    k = [rounded(context.k), context.k]
    for head, planted in enumerate(context.planted):
        assert planted.share > 0.9
        for q, keys in zip((rounded(context.q), context.q), k, strict=True):
            share = planted_share(q[head], keys[head // 2], planted, rows)
            assert share == pytest.approx(planted.share, abs=0.04)


@pytest.mark.parametrize("family", PLANTED)
def test_so_do_all_queries(family):
    """All but those that come before what they would look for."""
    context = made(family, 1024, 16)
    for head, planted in enumerate(context.planted):
        first = max([planted.block, *planted.slashes, *planted.verticals, 2 * planted.band])
        rows = np.arange(first, 1024)
        share = planted_share(context.q[head], context.k[head // 2], planted, rows)
        assert share == pytest.approx(planted.share, abs=0.03)


def test_flat_is_flat():
    context = made("flat")
    assert not any(planted.blocks().any() for planted in context.planted)
    rows = np.arange(4096 - 128, 4096)
    for head in range(4):
        attended = attention_of(context.q[head], context.k[head // 2], rows).mean(axis=0)
        assert block_sums(attended, 128).max() < 4 / 32


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_find_it(family):
    context = made(family)
    for rule in (coverage, flexprefill):
        for head, found in enumerate(rule(context.q, context.k, gamma=0.9)):
            planted = context.planted[head]
            is_aware = family in ("flat", "needles")
            assert found.pattern == ("query-aware" if is_aware else "vertical-slash")
            assert found.divergence < 0.07 or found.divergence > 0.13  # far from tau
            for column in planted.columns:
                assert found.mask[column:, column].all()
            near = range(-(-planted.band // planted.block))
            for distance in planted.diagonals:
                # Of the band's last block there may be next to nothing.
                assert np.diagonal(found.mask, -distance).all() or distance in near[1:]
            if planted.needles:
                kept = [found.mask[pair] for pair in planted.needles]
                assert np.mean(kept) > 0.9
            rows = np.arange(len(context.q[head]) - 128, len(context.q[head]))
            covered = covered_share(context.q[head], context.k[head // 2], found.mask, 128, rows)
            assert covered > 0.85 or family == "flat"


@pytest.mark.parametrize("least", [0, 8])
@pytest.mark.parametrize("size", SIZES)
def test_is_well_posed(size, least):
    """What int8 selects is nearly what float64 does, with fewest blocks 0 and 8."""
    tokens, block, head_dim = size
    alike = []
    for family in FAMILIES:
        context = made(family, tokens, block, head_dim, seed=1, heads=2)
        chosen = [
            coverage(q, k, block=block, min_budget=least * block)
            for q, k in ((context.q, context.k), (rounded(context.q), rounded(context.k)))
        ]
        alike += [jaccard(a.mask, b.mask) for a, b in zip(*chosen, strict=True)]
    assert np.mean(np.array(alike) >= 0.95) >= 0.9
    assert np.mean(alike) > 0.98
    assert min(alike) > 0.7


def test_heads_differ():
    for family in PLANTED:
        context = made(family, 512, 16)
        answers = [planted.blocks() for planted in context.planted]
        shares = {planted.share for planted in context.planted}
        assert len(shares) == 4
        if family not in ("sinks", "bands"):
            assert not any((answers[0] == other).all() for other in answers[1:])
        assert not np.allclose(context.q[0], context.q[1])
        assert not np.allclose(context.k[0], context.k[1])


def test_is_repeatable():
    a, b, other = (made("mixed", 512, 16, seed=seed) for seed in (3, 3, 4))
    for name in "qkv":
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        np.testing.assert_array_equal(x, y)
        assert (x != getattr(other, name)).any()
    assert a.planted == b.planted != other.planted


def test_more_heads_leave_the_first_as_they_are():
    few = generate("mixed", 1024, heads=1, kv_heads=1, seed=2, block=16)
    more = generate("mixed", 1024, heads=4, kv_heads=2, seed=2, block=16)
    np.testing.assert_array_equal(few.q[0], more.q[0])
    np.testing.assert_array_equal(few.k[0], more.k[0])
    assert few.planted[0] == more.planted[0]


def test_memory_is_what_comes_out():
    """Beside q, k and v there is what a few thousand tokens need, and tables."""
    tracemalloc.start()
    context = generate("slashes", 20000, heads=1, head_dim=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sum(x.nbytes for x in (context.q, context.k, context.v)) + 60e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "wide"}, r"^family must be one of flat, sinks, .*, mixed, not 'wide'$"),
        ({"tokens": 1023}, r"^tokens must be at least 8 blocks of 128, not 1023$"),
        ({"block": 0}, r"^tokens must be at least 8 blocks of 0, not 1024$"),
        ({"heads": 3, "kv_heads": 2}, r"^kv_heads must divide heads, 3, not be 2$"),
        ({"kv_heads": 0}, r"^kv_heads must divide heads, 2, not be 0$"),
        ({"head_dim": 16}, r"^head_dim must be at least 32, not 16$"),
    ],
)
def test_refused(changes, message):
    given = {"family": "flat", "tokens": 1024, **changes}
    with pytest.raises(InputError, match=message):
        generate(given.pop("family"), given.pop("tokens"), **given)


def test_short_codes_are_refused():
    with pytest.raises(InputError, match=r"^head_dim must be larger to tell so many tokens apart"):
        generate("mixed", 131072, heads=1, head_dim=32)
