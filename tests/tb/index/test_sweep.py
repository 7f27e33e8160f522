import numpy as np

from qkloom.tb.index.sweep import Step, clearing, steps_of


def test_clearing():
    assert [step.place for step in clearing(blocks=3, window=2)] == [4, 3, 2, 1, 0]


def test_steps():
    masks = np.array([[[1, 0, 0], [0, 0, 0], [1, 0, 1]]], bool)
    assert steps_of(masks, 2) == [
        *(Step("adds", place) for place in (0, 2, 4)),
        *(Step("backs", 2 + block, block, 1, True) for block in (2, 1, 0)),
        *(Step("backs", block, block, 0, False) for block in (1, 0)),
        *(Step("tells", block, block, 0, False) for block in (0, 1)),
        Step("ends"),
        *(Step("tells", 2 + block, block, 1, True) for block in (0, 1, 2)),
        Step("ends"),
    ]
