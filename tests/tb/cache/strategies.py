"""Lists of visits for all tests of caches."""

import numpy as np
from hypothesis import strategies as st

from qkloom.rtl.cache.visit import POLICIES
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of


@st.composite
def needs_of(draw, most=8, kv_heads=1):
    """Return which blocks query blocks need (heads, query blocks, KV blocks), and one at least."""
    heads = draw(st.integers(1, 3)) * kv_heads
    n_q, n = draw(st.integers(1, most)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    needs = rng.random((heads, n_q, n)) < draw(st.sampled_from([0.1, 0.3, 0.7]))
    needs[0, 0, 0] = True
    return needs


@st.composite
def lists(draw, most=8):
    """Return visits of one or two KV heads."""
    kv_heads = draw(st.integers(1, 2))
    needs = draw(needs_of(most, kv_heads))
    return visits_of(needs, kv_heads=kv_heads, pairs_per_window=draw(st.integers(1, 5)))


@st.composite
def rules(draw, policies=POLICIES):
    """Return rules of small caches."""
    hot, cold = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    policy = draw(st.sampled_from(policies)) if hot + cold else "none"
    return CacheRules(
        policy,
        hot=hot,
        cold=cold,
        threshold=draw(st.integers(0, 6)),
        lookahead=draw(st.integers(1, 6)),
        horizon=draw(st.none() | st.integers(1, 4)),
    )
