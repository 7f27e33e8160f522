from collections import Counter

import pytest

from qkloom.gen.chip import read_chip
from qkloom.gen.estimate import crossover, estimate
from qkloom.gen.estimate.crossover import budget_of, find_splits, tabulate_splits
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.errors import InputError


class TestFill:
    COSTS = {"dsp": {"lut": 1, "dsp": 10, "bram36": 2}, "lut": {"lut": 20, "dsp": 1, "bram36": 2}}
    SPARED = {"bram36": -1, "uram": 3}

    def fill(self, kinds, around=0, **budget):
        costs = {kind: Counter(self.COSTS[kind]) for kind in kinds}
        budget = {"lut": 100, "dsp": 55, "bram36": 99, "uram": 99} | budget
        return crossover._fill(costs, self.SPARED, budget, lambda n: {"lut": around * n})

    def test_one_kind(self):
        assert self.fill(["dsp"]) == ({"dsp": 5}, 0)
        assert self.fill(["lut"]) == ({"lut": 5}, 0)

    def test_both(self):
        # Five by DSP leave 95 LUTs and 5 DSPs.
        assert self.fill(["dsp", "lut"]) == ({"dsp": 5, "lut": 4}, 0)

    def test_of_equals_that_with_fewest_luts(self):
        assert self.fill(["dsp", "lut"], lut=20, dsp=10) == ({"dsp": 1, "lut": 0}, 0)

    def test_as_many_as_needed_spare_block_ram(self):
        assert self.fill(["dsp", "lut"], bram36=16) == ({"dsp": 5, "lut": 4}, 2)
        assert self.fill(["dsp", "lut"], bram36=16, uram=5) == ({"dsp": 5, "lut": 3}, 0)
        assert self.fill(["dsp", "lut"], bram36=8) == ({"dsp": 5, "lut": 3}, 8)

    def test_a_kernel_is_around_them(self):
        assert self.fill(["dsp", "lut"], around=1) == ({"dsp": 5, "lut": 4}, 0)
        assert self.fill(["dsp", "lut"], around=2) == ({"dsp": 5, "lut": 3}, 0)
        assert self.fill(["dsp", "lut"], around=99) == ({"dsp": 1, "lut": 0}, 0)

    def test_nothing_fits(self):
        assert self.fill(["dsp", "lut"], lut=0) == ({"dsp": 0, "lut": 0}, 0)


def test_splits_on_a_small_chip():
    budget = budget_of(100_000)
    splits = find_splits(
        clock_mhz=200, budget=budget, chip="u280-tiny", precisions=[(8, 8), (4, 4)]
    )
    assert len(splits) == 2 * 2 * 3
    for split in splits:
        assert all(split.counts[name] <= most for name, most in budget.items())
        assert split.tops == pytest.approx(2 * 64 * sum(split.lanes.values()) * 200e6 / 1e12)
    by = {(s.of, s.stream, s.stationary, s.ways): s.tops for s in splits}
    for of, stream, stationary, ways in by:
        assert by[of, stream, stationary, ways] <= by[of, stream, stationary, "both"]
        assert by["lanes", stream, stationary, ways] <= by["arrays", stream, stationary, ways]
    headers, rows = tabulate_splits(splits)
    assert {len(row) for row in rows} == {len(headers)}
    assert [row[:2] for row in rows[:2]] == [["lanes", "8x8"], ["arrays", "8x8"]]


def test_lanes_are_counted_as_their_chip_is():
    budget = budget_of(60_000)
    chip = read_chip("u280-tiny")
    splits = find_splits(clock_mhz=200, budget=budget, chip=chip.name, precisions=[(8, 8)])
    for split in (split for split in splits if split.of == "lanes"):
        lanes = [kind for kind, n in split.lanes.items() for _ in range(n)]
        lanes = tuple(
            f"{kind}+ultra" if number < split.ultra else kind for number, kind in enumerate(lanes)
        )
        kernel = Kernel(**{**chip.kernel_parameters, "lanes": lanes, "p_width": 14})
        total = estimate(kernel).total
        assert {name: split.counts[name] for name in budget} == pytest.approx(
            {name: total[name] for name in budget}
        )


@pytest.mark.parametrize("clock", [float("inf"), 0, -1, float("nan")])
def test_clock(clock):
    with pytest.raises(InputError, match=r"^--clock must be a finite number above 0 MHz, not "):
        find_splits(clock_mhz=clock, budget=budget_of(None))


def test_budget():
    assert budget_of(None)["lut"] == 0.8 * 1_163_520
    assert budget_of(5)["lut"] == 5
    with pytest.raises(InputError, match=r"^--luts must be a positive integer, not 0; leave it"):
        budget_of(0)
