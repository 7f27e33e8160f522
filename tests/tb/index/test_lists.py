import numpy as np

from qkloom.rtl.index.list import list_layout
from qkloom.tb.index.lists import list_words
from qkloom.tb.packing import unpack


def test_entries_and_ends():
    rows = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0]], bool)
    items = unpack(list_layout(3), list_words(list_layout(3), rows))
    assert items["end"].tolist() == [1, 0, 0, 1, 0, 1]
    assert items["block"].tolist() == [0, 0, 2, 0, 1, 0]
