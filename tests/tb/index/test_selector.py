"""The exact model of the selector, beside the definition it is to give, and the rule in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.tb.index.code import decode, encode
from qkloom.tb.index.coverage import smallest_cover
from qkloom.tb.index.selector import select


def by_sorting(codes, always, *, gamma, least, most, fraction):
    """Rank, go down the rank, and stop: count, mass and numbers of what is taken."""
    masses = [int(mass) for mass in decode(codes, fraction=fraction)]
    target = (gamma * sum(masses) + 65535) >> 16
    taken = [k for k, forced in enumerate(always) if forced]
    rest = [k for k, forced in enumerate(always) if not forced]
    for k in sorted(rest, key=lambda k: (-codes[k], k)):
        mass = sum(masses[j] for j in taken)
        is_below = gamma == 65536 or mass < target
        if not ((is_below and len(taken) < most) or len(taken) < least):
            break
        taken.append(k)
    return sorted(taken), sum(masses[k] for k in taken), sum(masses)


@st.composite
def selections(draw):
    fraction = draw(st.integers(1, 3))
    width = draw(st.integers(fraction + 1, 8))
    value = st.one_of(st.integers(0, (1 << width) - 1), st.sampled_from([0, 1, (1 << width) - 1]))
    n = draw(st.integers(1, 12))
    # Few different ones, so that many are equal.
    some = draw(st.lists(value, min_size=1, max_size=4))
    values = draw(st.lists(st.one_of(st.sampled_from(some), value), min_size=n, max_size=n))
    always = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    if draw(st.booleans()):
        always = [False] * n
    gamma = draw(st.one_of(st.integers(0, 65536), st.sampled_from([0, 1, 32768, 65535, 65536])))
    least, most = draw(st.integers(0, n + 2)), draw(st.integers(0, n + 2))
    digit_bits = draw(st.integers(1, fraction + 2))
    return values, always, gamma, least, most, width, fraction, digit_bits


@given(selections())
@settings(max_examples=2000, derandomize=True, deadline=None)
def test_radix_selection_is_sorting(selection):
    values, always, gamma, least, most, width, fraction, digit_bits = selection
    codes = encode(values, fraction=fraction).tolist()
    rule = {"gamma": gamma, "least": least, "most": most, "fraction": fraction}
    found = select(codes, always, **rule, value_width=width, digit_bits=digit_bits)
    taken, mass, total = by_sorting(codes, always, **rule)
    assert np.flatnonzero(found.taken).tolist() == taken
    assert (found.count, found.mass, found.total) == (len(taken), mass, total)
    assert found.flat == (len(set(codes)) == 1)


@pytest.mark.parametrize("seed", range(40))
def test_the_rule_of_the_float_model(seed):
    """Masses that codes hold, and shares of them that a float holds: the same is taken."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    values = rng.integers(0, 1 << 11, n) >> rng.integers(0, 11, n)
    gamma = int(rng.integers(0, 65536))
    least, most = sorted(rng.integers(1, n + 1, 2).tolist())
    sink = int(rng.integers(0, n)) if seed % 2 else None
    wanted = smallest_cover(
        values.astype(float), gamma / 65536, always=sink, least=least, most=most
    )
    found = select(encode(values), np.arange(n) == sink, gamma=gamma, least=least, most=most)
    assert np.array_equal(found.taken, wanted)
