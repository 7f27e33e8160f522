import numpy as np
import pytest

from qkloom.rtl.index.lists import SelectionLists
from qkloom.rtl.index.mask import SelectionMask
from qkloom.tb.index.coverage import coverage
from qkloom.tb.index.mask import Head, draw_head, mask_inputs, mask_of, mask_outputs
from qkloom.tb.packing import unpack


def by_sets(head):
    """The three sets of pairs that a selection is."""
    n = len(head.columns)
    chosen = {(r, c) for r in range(n) for c in np.flatnonzero(head.columns) if c <= r}
    chosen |= {(r, r - o) for r in range(n) for o in np.flatnonzero(head.diagonals) if o <= r}
    if head.pairs is not None:
        chosen |= {(r, c) for r, c in np.argwhere(head.pairs) if c <= r}
    return chosen


@pytest.mark.parametrize("n", [1, 2, 5, 31, 33])
def test_is_the_union(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        head = draw_head(rng, n)
        assert {tuple(pair) for pair in np.argwhere(mask_of(head))} == by_sets(head)


def test_a_whole_selection_of_columns_and_diagonals():
    """Every head of the rule is such a union: what it selects is made of what it reports."""
    rng = np.random.default_rng(1)
    q, k = rng.standard_normal((2, 96, 8)), rng.standard_normal((1, 96, 8))
    for found in coverage(q, k, block=8, tau=0, min_budget=16, max_budget=32):
        n = len(found.mask)
        row, column = np.indices((n, n))
        causal = column <= row
        columns = np.array([(found.mask | ~causal)[:, c].all() for c in range(n)])
        diagonals = np.array([found.mask[row - column == o].all() for o in range(n)])
        np.testing.assert_array_equal(mask_of(Head(columns, diagonals)), found.mask)


@pytest.mark.parametrize("kind", [SelectionMask, SelectionLists])
def test_words(kind):
    unit = kind(blocks=6, word_width=4)
    columns, diagonals = np.array([1, 0, 0, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    pairs = np.zeros((5, 5), bool)
    pairs[4, 2] = pairs[1, 3] = True
    inputs = mask_inputs(unit, [Head(columns, diagonals, pairs), Head(columns, diagonals)])
    assert unpack(unit.call.payload.shape(), inputs["call"])["n"].tolist() == [5, 5]
    items = unpack(unit.i.payload.shape(), inputs["i"])
    assert len(items["taken"]) == 5 + 5 + 15 + 5 + 5
    assert np.flatnonzero(items["taken"]).tolist() == [0, 5, 8, 10 + 12, 25, 30, 33]
    assert np.flatnonzero(items["last"]).tolist() == [4, 9, 24, 29, 34]
    words = unpack(
        (unit.o if kind is SelectionMask else unit.masks).payload.shape(),
        mask_outputs(unit, [Head(columns, diagonals, pairs)]),
    )
    assert words["mask"].tolist() == [1, 0, 3, 0, 5, 0, 9, 0, 7, 1]
    assert words["last"].tolist() == [0, 1] * 5


def test_bits_in_memory():
    """Bit b % 8 of byte b // 8 of a row is KV block b; words have their lowest byte first."""
    unit = SelectionMask(blocks=64)
    head = draw_head(np.random.default_rng(2), 41, pairs=True)
    words = unpack(unit.o.payload.shape(), mask_outputs(unit, [head]))["mask"].astype("<u4")
    wanted = np.packbits(np.pad(mask_of(head), ((0, 0), (0, 64 - 41))), axis=1, bitorder="little")
    np.testing.assert_array_equal(words.view(np.uint8).reshape(41, 8), wanted)
