import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.index.row_sums import RowSums
from qkloom.tb.index.row_sums import row_sums
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall

SMALL = {"blocks": 9, "fraction": 8, "exp_fraction": 28}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Number of blocks must be a positive integer, not 0"),
        ({"fraction": 13}, ValueError, "Fraction must be at most 12, not 13"),
        ({"exp_fraction": 31}, ValueError, "Exp fraction must be at most 30, not 31"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        RowSums(**SMALL | changes)


@pytest.mark.parametrize(
    "sizes",
    [
        SMALL,
        {"blocks": 1, "fraction": 6, "exp_fraction": 20},
        {"blocks": 16, "fraction": 10, "exp_fraction": 30},
        {"blocks": 3, "fraction": 12, "exp_fraction": 4},
    ],
    ids=lambda sizes: "-".join(map(str, sizes.values())),
)
@pytest.mark.parametrize("pace", [1, 0.5])
def test_rows(sizes, pace):
    """Heads one after the other; each is read when it is complete."""
    assert emit(RowSums(**sizes)).ports
    unit = RowSums(**sizes)
    fraction, blocks = sizes["fraction"], sizes["blocks"]
    rng = np.random.default_rng(blocks)
    limit = (1 << 15) - 1 << fraction
    scores = []
    for number, n in enumerate([1, blocks, max(blocks - 1, 1), min(2, blocks), blocks, blocks]):
        spread = (limit, 4 << fraction, 1)[number % 3]
        x = rng.integers(-spread, spread + 1, (n, n))
        if number == 4:
            x[:] = -limit
            x[np.arange(n), rng.integers(0, n, n)] = limit
        scores.append(x)
    words = []
    for x in scores:
        r, c = np.tril_indices(len(x))
        words.append(
            pack(unit.i.payload.shape(), x=x[r, c], last=r == c, end=(r == c) & (r == len(x) - 1))
        )
    sent = [
        [sum(int(word) << 32 * k for k, word in enumerate(row)) for row in rows] for rows in words
    ]
    found, times = [], []

    async def drive(ctx):
        stall, cycle = (FREE if pace == 1 else Stall(0.5, seed=1)), 0
        for x, items in zip(scores, sent, strict=True):
            for item in items:
                while stall.at("i", cycle):
                    ctx.set(unit.i.valid, 0)
                    await ctx.tick()
                    cycle += 1
                ctx.set(unit.i.valid, 1)
                ctx.set(unit.i.payload.as_value(), item)
                await ctx.tick()
                cycle += 1
            ctx.set(unit.i.valid, 0)
            waited = 1
            while not ctx.get(unit.complete):
                await ctx.tick()
                waited += 1
            times.append(waited - len(x))
            await ctx.tick()
            rows = []
            for row in range(len(x)):
                ctx.set(unit.row, row)
                await ctx.tick()
                rows.append(
                    [ctx.get(v) for v in (unit.maximum, unit.reciprocal.e, unit.reciprocal.r)]
                )
            found.append(np.transpose(rows).tolist())

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    expected = [row_sums(x, fraction=fraction, exp_fraction=sizes["exp_fraction"]) for x in scores]
    assert found == [[part.tolist() for part in rows] for rows in expected]
    assert set(times) == {unit.latency}
