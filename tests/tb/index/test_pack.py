import pytest

from qkloom.tb.index.pack import pack_bits


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ([1], [1]),
        ([0, 1, 0, 0], [2]),
        ([1, 1, 1, 1, 0, 1], [15, 2]),
        ([0] * 8, [0, 0]),
    ],
)
def test_words(bits, words):
    assert pack_bits(bits, 4) == words


def test_a_word_has_32_bits():
    assert pack_bits([True] * 33) == [0xFFFF_FFFF, 1]
