"""Bounds against all that could be done, and against the plainest code."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.tb.cache.bounds import belady, lru
from qkloom.tb.cache.native import lru_hits
from qkloom.tb.cache.replay import replay

from .strategies import lists, rules


def fewest_misses(blocks, slots):
    """Try all that can be kept behind each visit."""
    costs = {frozenset(): 0}
    for block in blocks:
        after = {}
        for held, cost in costs.items():
            choices = [held]
            if block not in held:
                cost += 1
                kept = [held - {victim} for victim in held] if len(held) == slots else [held]
                choices += [some | {block} for some in kept]
            for choice in choices:
                after[choice] = min(after.get(choice, cost), cost)
        costs = after
    return min(costs.values())


@settings(max_examples=150, derandomize=True, deadline=None)
@given(lists(most=5), st.integers(1, 4))
def test_nothing_fetches_fewer_than_belady(visits, slots):
    assert belady(visits, slots).sum() == fewest_misses(visits.block.tolist(), slots)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(lists(), st.integers(1, 6))
def test_lru(visits, slots):
    held, expected = [], []
    for block in visits.block.tolist():
        expected.append(block not in held)
        held = [block, *(other for other in held if other != block)][:slots]
    assert lru(visits, slots).tolist() == expected


@settings(max_examples=150, derandomize=True, deadline=None)
@given(visits=lists(most=12), slots=st.integers(1, 9))
def test_native_lru(library, visits, slots):
    assert (~lru_hits(library, slots, visits)).tolist() == lru(visits, slots).tolist()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(rules(), lists())
def test_no_rule_is_better_than_belady(given, visits):
    assert belady(visits, given.slots).sum() <= replay(given, visits).fetched.sum()


@settings(max_examples=50, derandomize=True, deadline=None)
@given(lists())
def test_what_all_fits_is_fetched_once(visits):
    _, first = np.unique(visits.block, return_index=True)
    for fetched in (belady(visits, 99), lru(visits, 99)):
        assert np.flatnonzero(fetched).tolist() == sorted(first.tolist())
    assert belady(visits, 0).all()
    assert lru(visits, 0).all()
