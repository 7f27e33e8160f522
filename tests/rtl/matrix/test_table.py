import re

import numpy as np
import pytest
from amaranth.lib.wiring import In, Out, Signature
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I4, I8, U8
from qkloom.rtl.matrix.table import (
    GROUP,
    SubsetSums,
    SubsetTable,
    TableLoader,
    sum_range,
    sum_step,
    sum_width,
)
from qkloom.tb.simulate import to_bits


def simulate(dut, drive):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


@pytest.mark.parametrize("number", [I8, I4, U8])
def test_sum_range(number):
    low, high = sum_range(number)
    assert (low, high) == (4 * number.min_raw, 4 * number.max_raw)
    least = -(1 << sum_width(number) - 1) if number.is_signed else 0
    assert least <= low and high < least + (1 << sum_width(number))


class TestSubsetTable:
    def test_attributes(self):
        assert SubsetTable(width=10, planes=8).signature == Signature(
            {
                "i": In(32),
                "i_bank": In(1),
                "w_en": In(1),
                "w_addr": In(5),
                "w_data": In(10),
                "o": Out(80),
            }
        )

    @pytest.mark.parametrize("name", ["width", "planes"])
    def test_errors(self, name):
        label = {"width": "Width", "planes": "Number of planes"}[name]
        with pytest.raises(ValueError, match=f"^{label} must be a positive integer, not 0$"):
            SubsetTable(**{"width": 4, "planes": 2, name: 0})

    def test_reads_and_writes(self):
        table = SubsetTable(width=5, planes=3)
        rng = np.random.default_rng(0)
        words = np.zeros(32, int)

        async def drive(ctx):
            bank = 0
            for _ in range(400):
                subsets = rng.integers(0, 16, 3)
                en, addr, data, next_bank = (int(rng.integers(n)) for n in (2, 32, 32, 2))
                ctx.set(table.i, sum(int(x) << 4 * p for p, x in enumerate(subsets)))
                ctx.set(table.w_en, en)
                ctx.set(table.w_addr, addr)
                ctx.set(table.w_data, data)
                ctx.set(table.i_bank, next_bank)
                read = words[subsets + 16 * bank]
                assert ctx.get(table.o) == sum(int(x) << 5 * p for p, x in enumerate(read))
                await ctx.tick()
                words[addr] = data if en else words[addr]
                bank = next_bank

        simulate(table, drive)

    def test_conversion(self):
        assert "memory" in emit(SubsetTable(width=3, planes=2)).rtlil


class TestSubsetSums:
    """With steps of a loader; what comes out when is the loader's test."""

    @pytest.mark.parametrize("number", [I8, I4, U8])
    def test_steps(self, number):
        sums = SubsetSums(number=number)
        rng = np.random.default_rng(1)

        async def drive(ctx):
            held, total = [0] * GROUP, 0
            for cycle in range(300):
                word = int(rng.choice([number.min_raw, number.max_raw, rng.integers(0, 8)]))
                step = {
                    "take": [int(x) for x in rng.integers(0, 2, GROUP)],
                    "clear": int(rng.random() < 0.2 or not cycle),
                    "step": int(rng.random() < 0.8),
                    "select": int(rng.integers(GROUP)),
                    "subtract": int(rng.integers(2)),
                }
                take = sum(x << k for k, x in enumerate(step["take"]))
                ctx.set(sums.i, word & (1 << number.width) - 1)
                ctx.set(sums.i_step, to_bits(sum_step(), {**step, "take": take}))
                assert ctx.get(sums.o) == total & (1 << sum_width(number)) - 1
                await ctx.tick()
                if step["clear"]:
                    total = 0
                elif step["step"]:
                    total += -held[step["select"]] if step["subtract"] else held[step["select"]]
                held = [word if x else y for x, y in zip(step["take"], held, strict=True)]

        simulate(sums, drive)


def load(groups, last_rows, pace, seed=0, tiles=2):
    """Feed rows to a loader and play the sums; return tables, and the cycles of rows and ends."""
    loader = TableLoader(groups=groups, last_rows=last_rows)
    rng = np.random.default_rng(seed)
    n_rows = tiles * (4 * (groups - 1) + last_rows)
    rows = rng.integers(-128, 128, n_rows)
    tables, came, ends = {}, [], []
    layout = sum_step()

    async def drive(ctx):
        held, total, tile = [0] * GROUP, 0, 0
        for cycle in range(4000):
            # As the matrix unit does: no row of the next tile before this one is complete.
            allowed = len(came) < len(rows) and len(came) < (len(ends) + 1) * n_rows // tiles
            offers = allowed and rng.random() < pace
            take = offers and ctx.get(loader.o_ready)
            ctx.set(loader.i_take, int(take))
            step = layout.from_bits(ctx.get(loader.o_step))
            if step.clear:
                total = 0
            elif step.step:
                total += -held[step.select] if step.subtract else held[step.select]
            write = ctx.get(loader.o_write)
            if write:
                group = write.bit_length() - 1
                assert write == 1 << group
                subset = ctx.get(loader.o_subset)
                assert (tile, group, subset) not in tables
                tables[tile, group, subset] = total
            if take:
                assert step.take == 1 << (len(came) % (n_rows // tiles) % 4)
                held[len(came) % (n_rows // tiles) % 4] = rows[len(came)]
                came.append(cycle)
            else:
                assert not step.take
            if not allowed and ctx.get(loader.o_done):
                ends.append(cycle)
                tile += 1
            await ctx.tick()
            if len(ends) == tiles:
                break

    simulate(loader, drive)
    return rows.reshape(tiles, -1), tables, came, ends


class TestTableLoader:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"groups": 0}, "Number of groups must be a positive integer, not 0"),
            ({"last_rows": 5}, "Number of rows of the last group must be at most 4, not 5"),
        ],
    )
    def test_errors(self, changes, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            TableLoader(**{"groups": 2, **changes})

    @pytest.mark.parametrize("groups", [1, 2, 8])
    @pytest.mark.parametrize("last_rows", [1, 2, 3, 4])
    @pytest.mark.parametrize("pace", [1, 0.5, 0.1])
    def test_tables(self, groups, last_rows, pace):
        rows, tables, came, ends = load(groups, last_rows, pace)
        expected = {}
        for tile, numbers in enumerate(rows):
            for group in range(groups):
                inside = numbers[4 * group : 4 * group + 4]
                for subset in range(1 << len(inside)):
                    chosen = [x for k, x in enumerate(inside) if subset >> k & 1]
                    expected[tile, group, subset] = sum(chosen)
        assert tables == expected
        if pace == 1:
            assert ends[0] + 1 == 16 * (groups - 1) + (1 << last_rows)
            assert ends[1] + 1 - came[4 * (groups - 1) + last_rows] == ends[0] + 1
