"""Sums leave a step row by row, and touch no outputs that are still to be read."""

from itertools import pairwise

import pytest

from qkloom.rtl.lane.deposit import Deposit
from qkloom.rtl.lane.output import OutputAccumulator
from qkloom.tb.simulate import simulate, to_bits

SHAPE = {"size": 4, "block_rows": 8, "head_dim": 8, "tokens": 64, "slots": 2}


def step(**fields):
    values = dict.fromkeys(("causal", "diagonal", "keys", "bank", "slot", "out_slot"), 0)
    values |= {"gemm": 1, "first": 1, "last": 1, "sum_first": 1, "sum_last": 1}
    return values | {"rows": 3, "d_tiles": 2, "mantissa": 70_000, "shift": 5} | fields


def logs_of(steps, *, digits=2, done=(), cycles=200):
    dut = Deposit(**SHAPE, digits=digits, row_width=2, exponent_width=5)
    bits = [to_bits(dut.step.payload.shape(), s) for s in steps]
    return dut, simulate(
        dut,
        inputs={"step": bits, "done": [to_bits(dut.done.payload.shape(), d) for d in done]},
        outputs=["place", "drained", "unload", "factor"],
        pace={"done": lambda cycle: float(cycle >= 60)},
        cycles=cycles,
    )


def fields(dut, log, stream, *names):
    shape = getattr(dut, stream).payload.shape()
    return [tuple(int(shape.from_bits(x)[name]) for name in names) for x in log[stream].items]


@pytest.mark.parametrize("digits", [1, 2])
def test_a_job_of_two_tiles(digits):
    steps = [step(last=0, sum_last=1), step(first=0, bank=1, slot=1, out_slot=0)]
    dut, log = logs_of(steps, digits=digits)
    rows = [(t, r, 1, int((t, r) == (1, 2))) for t in (0, 1) for r in range(3)]
    assert fields(dut, log, "place", "tile", "row", "first", "complete") == rows
    assert fields(dut, log, "drained", "bank") == [(0,), (1,)]
    assert fields(dut, log, "unload", "slot") == [(1,)]
    assert fields(dut, log, "factor", "zero", "e", "r") == [(0, 5, 70_000)] * 3
    at = log["place"].cycles
    assert [b - a for a, b in pairwise(at[:3])] == [digits] * 2
    assert at[3] - at[2] > OutputAccumulator.feedback


@pytest.mark.parametrize(("shift", "e"), [(31, 31), (32, 31), (63, 31)])
def test_no_shift_is_beyond_what_the_normalizer_looks_at(shift, e):
    dut, log = logs_of([step(rows=1, shift=shift)])
    assert fields(dut, log, "factor", "e") == [(e,)]


def test_a_slot_waits_until_its_outputs_are_read():
    steps = [step(), step(out_slot=1), step()]
    _, log = logs_of(steps, done=[{"slot": 0}])
    at = log["place"].cycles
    assert len(at) == 9
    assert at[5] < 60 < at[6]
    _, log = logs_of(steps)
    assert len(log["place"].items) == 6


def test_later_chunks_of_a_sum_wait_for_nothing():
    steps = [step(sum_last=0), step(sum_first=0, sum_last=0), step(sum_first=0)]
    dut, log = logs_of(steps)
    assert fields(dut, log, "place", "first", "complete")[::3] == [(1, 0), (0, 0), (0, 0)]
    assert fields(dut, log, "place", "first", "complete")[-1] == (0, 1)


def test_bad_digits():
    with pytest.raises(ValueError, match=r"^Digits must be 1 or 2, not 3$"):
        Deposit(**SHAPE, digits=3, row_width=2, exponent_width=5)
