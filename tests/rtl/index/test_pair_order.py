import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.pair_order import PairOrder
from qkloom.tb.engines import check, check_held
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Number of blocks must be a positive integer, not 0"),
        ({"beats": True}, TypeError, "Beats must be a positive integer, not True"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        PairOrder(**{"blocks": 3, "beats": 2} | changes)


def steps_of(rows, beats):
    """Every step of a sweep, in order."""
    return [
        {
            "row": row,
            "column": column,
            "beat": beat,
            "first": beat == 0,
            "last": beat == beats - 1,
            "row_first": column == 0,
            "row_last": column == row,
            "end": row == column == rows - 1,
        }
        for row in range(rows)
        for column in range(row + 1)
        for beat in range(beats)
    ]


def bench_of(unit, sweeps, stalls=(FREE, FREE), **options):
    steps = [step for sweep in sweeps for step in steps_of(*sweep)]
    fields = {name: np.array([int(step[name]) for step in steps]) for name in steps[0]}
    rows, beats = np.transpose(sweeps)
    return Testbench(
        {"i": Stimulus(pack(unit.i.payload.shape(), rows=rows, beats=beats), stalls[0])},
        {"o": Expectation(pack(unit.o.payload.shape(), **fields), stalls[1])},
        max_cycles=1000 + 10 * len(steps),
        **options,
    )


@pytest.mark.parametrize(("blocks", "beats"), [(1, 1), (1, 3), (2, 2), (8, 1), (9, 3), (7, 4)])
class TestSweeps:
    def sweeps(self, blocks, beats):
        return [(r, b) for r in range(1, blocks + 1) for b in {1, (beats + 1) // 2, beats}]

    @pytest.mark.parametrize("stalls", [(FREE, FREE), (Stall(0.5), Stall(0.5, 3, 1))])
    def test_all(self, blocks, beats, stalls):
        unit = PairOrder(blocks=blocks, beats=beats)
        check(emit(unit), bench_of(unit, self.sweeps(blocks, beats), stalls), "pysim")

    def test_a_step_a_cycle(self, blocks, beats):
        unit = PairOrder(blocks=blocks, beats=beats)
        sweeps = self.sweeps(blocks, beats)
        result = check(emit(unit), bench_of(unit, sweeps), "pysim")
        steps = sum(len(steps_of(*sweep)) for sweep in sweeps)
        moved = result.transfers["o"].astype(int)
        assert moved[-1] - moved[0] == steps - 1 + len(sweeps) - 1
        assert moved[0] - int(result.transfers["i"][0]) == 1

    def test_held_and_reset(self, blocks, beats):
        unit = PairOrder(blocks=blocks, beats=beats)
        sweeps = [(blocks, beats), (1, 1)]
        check_held(emit(unit), bench_of(unit, sweeps), "pysim")
        for aborted in (3, 4, 9):
            check(emit(unit), bench_of(unit, sweeps, aborted_cycles=aborted), "pysim")
