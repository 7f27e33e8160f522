"""What is written of a head can be read when its last reciprocal is there."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.table import PartialTable

PARAMETERS = {
    "rows": 4,
    "block": 8,
    "blocks": 3,
    "slots": 2,
    "sum_width": 20,
    "score_sum_width": 24,
}


@pytest.mark.parametrize(("rows", "blocks"), [(8, 3), (8, 1), (5, 1), (8, 2)])
def test_a_head_after_another(rows, blocks):
    dut = PartialTable(**PARAMETERS)
    rng = np.random.default_rng(rows + blocks)

    async def drive(ctx):
        for _ in range(2):
            every, far = rng.integers(0, 1 << 20, (2, blocks, rows)).tolist()
            maxima = rng.integers(-5000, 5000, (blocks, rows)).tolist()
            carries = rng.integers(0, 2, rows).tolist()
            sums = rng.integers(-(1 << 23), 1 << 23, blocks).tolist()
            for b in range(blocks):
                ctx.set(dut.sums.valid, 1)
                ctx.set(dut.sums.payload, {"sum": sums[b], "keys": 8 - b})
                for row in range(rows):
                    partial = {
                        "row": row,
                        "all": every[b][row],
                        "far": far[b][row],
                        "maximum": maxima[b][row] % (1 << 16),
                        "carry": carries[row],
                        "last": int(b == blocks - 1),
                        "row_last": int(row == rows - 1),
                    }
                    ctx.set(dut.partials.payload, partial)
                    ctx.set(dut.partials.valid, 1)
                    await ctx.tick()
                    ctx.set(dut.sums.valid, 0)
            ctx.set(dut.partials.valid, 0)
            await ctx.tick()
            inverse = rng.integers(1 << 16, 1 << 17, rows).tolist()
            for row in range(rows):
                tag = {"slot": 1, "row": row}
                ctx.set(
                    dut.reciprocals.payload,
                    {"zero": 0, "e": 20 + row, "r": inverse[row], "tag": tag},
                )
                ctx.set(dut.reciprocals.valid, 1)
                assert not ctx.get(dut.complete)
                await ctx.tick()
            ctx.set(dut.reciprocals.valid, 0)
            assert ctx.get(dut.complete)
            assert (ctx.get(dut.last_row), ctx.get(dut.last_block)) == (rows - 1, blocks - 1)
            for b in range(blocks):
                for group in range(-(-rows // 4)):
                    ctx.set(dut.block, b)
                    ctx.set(dut.group, group)
                    await ctx.tick()
                    assert ctx.get(dut.block_sum["sum"]) == sums[b]
                    assert ctx.get(dut.block_sum["keys"]) == 8 - b
                    for i in range(min(4, rows - 4 * group)):
                        row = 4 * group + i
                        partial, state = dut.word.partials[i], dut.word.states[i]
                        assert ctx.get(partial.all) == every[b][row]
                        assert ctx.get(partial.far) == far[b][row]
                        assert ctx.get(partial.maximum) == maxima[b][row]
                        assert ctx.get(state.maximum) == maxima[-1][row]
                        assert ctx.get(state.carry) == carries[row]
                        assert ctx.get(state.e) == 20 + row
                        assert ctx.get(state.r) == inverse[row]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 3}, "Rows must be a power of two, not 3"),
        ({"block": 12}, "Block must be a power of two, not 12"),
        ({"block": 4}, "Block must be above rows 4, not 4"),
        ({"blocks": 0}, "Blocks must be a positive integer, not 0"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PartialTable(**(PARAMETERS | changes))


def test_it_converts():
    emit(PartialTable(**PARAMETERS))
