"""The spacer keeps the first rows of passes apart, and everything else together."""

import re
from itertools import pairwise
from random import Random

import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.lane.spacer import Spacer
from qkloom.tb.simulate import simulate

ROW = data.StructLayout({"new_tile": 1, "item": 7})


def rows_of(passes):
    """Return rows as bits; pass ``n`` has ``passes[n]`` of them."""
    firsts = [int(k == 0) for n in passes for k in range(n)]
    return [first | (k % 128) << 1 for k, first in enumerate(firsts)]


def starts(log):
    return [cycle for item, cycle in zip(log.items, log.cycles, strict=True) if item & 1]


@pytest.mark.parametrize("distance", [2, 3, 6, 7])
class TestDistance:
    def test_short_passes_are_spread(self, distance):
        sent = rows_of([1] * 10)
        logs = simulate(
            Spacer(shape=ROW, distance=distance), inputs={"i": sent}, outputs=["o"], cycles=90
        )
        assert logs["o"].items == sent
        assert logs["o"].cycles == [1 + distance * n for n in range(10)]

    def test_long_passes_have_full_rate(self, distance):
        sent = rows_of([distance, distance + 1, distance, 3 * distance])
        logs = simulate(
            Spacer(shape=ROW, distance=distance), inputs={"i": sent}, outputs=["o"], cycles=90
        )
        assert logs["o"].cycles == list(range(1, 1 + len(sent)))

    @pytest.mark.parametrize("seed", range(6))
    def test_stalls(self, distance, seed):
        rng = Random(seed)
        sent = rows_of([rng.choice([1, 1, 2, 3, distance, 2 * distance]) for _ in range(60)])
        pace = {"i": rng.choice([1, 0.5]), "o": rng.choice([0.9, 0.5, 0.2])}
        dut = Spacer(shape=ROW, distance=distance)
        logs = simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=4000, pace=pace)
        assert logs["o"].items == sent
        assert min(b - a for a, b in pairwise(starts(logs["o"]))) >= distance

    def test_never_ready(self, distance):
        dut = Spacer(shape=ROW, distance=distance)
        sent = rows_of([1, 1])
        logs = simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=20, pace={"o": 0})
        assert logs["o"].valid_cycles == list(range(1, 20))


@pytest.mark.parametrize(
    ("distance", "error", "message"),
    [
        ("2", TypeError, "Distance must be a positive integer, not '2'"),
        (0, ValueError, "Distance must be a positive integer, not 0"),
        (1, ValueError, "Distance must be at least 2 cycles, not 1"),
    ],
)
def test_wrong_distance(distance, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Spacer(shape=ROW, distance=distance)


def test_it_emits():
    assert emit(Spacer(shape=ROW, distance=6)).rtlil
