import numpy as np
import pytest

from qkloom.rtl.index.uses import UseTable
from qkloom.tb.index.uses import Use, uses_of, uses_words
from qkloom.tb.packing import unpack


def test_by_hand():
    first = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]], bool)
    second = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], bool)
    assert uses_of(np.stack([first, second]), 2) == [
        [Use(0, left=4, jobs=3, next=1), Use(1, left=2, jobs=1, next=1)],
        [Use(0, left=1, jobs=1, next=None), Use(1, 1, 1, None), Use(2, 2, 2, None)],
    ]


@pytest.mark.parametrize("window", [1, 2, 3, 8, 20])
def test_a_cache_that_counts_down_is_told_the_truth(window):
    """Jobs in attention's order: what is left afterwards, and whether a block comes again."""
    rng = np.random.default_rng(window)
    masks = np.tril(rng.random((3, 17, 17)) < 0.2)
    left = masks.sum(axis=(0, 1))
    uses = uses_of(masks, window)
    assert len(uses) == -(-17 // window)
    for number, found in enumerate(uses):
        assert [use.block for use in found] == sorted({use.block for use in found})
        for use in found:
            assert use.left == left[use.block]
            left[use.block] -= use.jobs
            again = [
                n for n in range(number + 1, len(uses)) for u in uses[n] if u.block == use.block
            ]
            assert use.next == (again[0] if again else None)
            assert (use.left == use.jobs) == (use.next is None)
    assert not left.any()


def test_words():
    unit = UseTable(blocks=4, heads=2, window=2)
    masks = np.array([[[1, 0, 0], [1, 0, 0], [1, 0, 1]]], bool)
    inputs, outputs = uses_words(unit, [masks])
    assert unpack(unit.call.payload.shape(), inputs["call"]) == {"n": [3], "heads": [1]}
    items = unpack(unit.o.payload.shape(), outputs["o"])
    assert items["end"].tolist() == [0, 1, 0, 0, 1]
    assert items["left"].tolist() == [3, 0, 1, 1, 0]
    assert items["next"].tolist() == [1, 0, 0, 0, 0]
    assert items["again"].tolist() == [1, 0, 0, 0, 0]
