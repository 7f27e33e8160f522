import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.pack import WordPacker
from qkloom.tb.engines import check, check_held
from qkloom.tb.index.pack import pack_bits
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench


def bench_of(unit, rows, stalls=(FREE, FREE)):
    width = unit.parameters["word_width"]
    words = [pack_bits(row, width) for row in rows]
    bits = [(bit, k == len(row) - 1) for row in rows for k, bit in enumerate(row)]
    sent = pack(unit.i.payload.shape(), bit=[b for b, _ in bits], last=[x for _, x in bits])
    expected = pack(
        unit.o.payload.shape(),
        mask=[word for of_row in words for word in of_row],
        last=[k == len(of_row) - 1 for of_row in words for k in range(len(of_row))],
    )
    return Testbench(
        {"i": Stimulus(sent, stalls[0])},
        {"o": Expectation(expected, stalls[1])},
        max_cycles=200 + 20 * len(sent),
    )


def rows_of(width, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [1, 1, 1, width - 1, width, width + 1, 3 * width, *rng.integers(1, 4 * width, 12)]
    return [(rng.random(int(n)) < rng.choice([0, 0.5, 1])).tolist() for n in sizes]


@pytest.mark.parametrize("width", [4, 8, 32])
class TestRows:
    @pytest.mark.parametrize("stalls", [(0, 0), (0.5, 0.3), (0, 0.8), (0.8, 0)])
    def test_words(self, width, stalls):
        unit = WordPacker(word_width=width)
        stalls = [Stall(p, seed=seed) for seed, p in enumerate(stalls)]
        check(emit(unit), bench_of(unit, rows_of(width), stalls), "pysim")

    def test_a_bit_a_cycle(self, width):
        unit = WordPacker(word_width=width)
        result = check(emit(unit), bench_of(unit, rows_of(width)), "pysim")
        sent = result.transfers["i"]
        assert np.array_equal(sent, np.arange(len(sent)))
        assert result.transfers["o"][-1] == sent[-1] + 1

    def test_held(self, width):
        unit = WordPacker(word_width=width)
        check_held(emit(unit), bench_of(unit, rows_of(width)), "pysim")


@pytest.mark.parametrize(
    ("width", "error", "message"),
    [
        ("8", TypeError, "Word width must be a positive integer, not '8'"),
        (2, ValueError, "Word width must be a power of two of at least 4, not 2"),
        (12, ValueError, "Word width must be a power of two of at least 4, not 12"),
    ],
)
def test_errors(width, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        WordPacker(word_width=width)
