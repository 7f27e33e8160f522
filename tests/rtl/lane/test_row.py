import itertools
import random
import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.lane.row import RowUnit
from qkloom.tb.lane.row import RowState, base2_scores, split, visible_keys

DEFAULT = {
    "size": 4,
    "block_rows": 3,
    "row_width": 2,
    "slots": 2,
    "head_dim": 8,
    "tokens": 64,
    "p_width": 14,
    "segments": 8,
    "fraction": 8,
}
SPACING = 6
VARIANTS = {
    "one element a cycle, one digit of 7 bits": {"row_width": 1, "p_width": 7},
    "whole rows, one digit of 8 bits": {"row_width": 4, "p_width": 8},
    "two unsigned digits, finest table": {"p_width": 16, "segments": 64, "fraction": 12},
    "odd p_width, no remainder": {"p_width": 9, "segments": 64, "fraction": 6},
    "one digit of 4 bits": {"p_width": 4, "stream_width": 4, "stationary_width": 4},
    "two signed digits of 4 bits": {"p_width": 6, "stream_width": 4},
    "one row, one slot": {"block_rows": 1, "slots": 1, "p_width": 15},
    "larger": {"size": 8, "head_dim": 16, "block_rows": 8, "row_width": 4, "slots": 3},
    "odd sizes": {"size": 6, "head_dim": 6, "row_width": 3, "block_rows": 5, "tokens": 100},
}


class Script:
    """Random steps, their scores, and what the exact model makes of them.

    With ``tops``, one query block instead: about the largest base-2 score of each of its steps, or
    None where nothing is visible.
    """

    def __init__(
        self, *, seed=0, n_steps=24, rows=None, one_slot=False, extreme=False, tops=None, **changes
    ):
        self.parameters = DEFAULT | changes
        names = set(self.parameters) - {"block_rows", "row_width", "slots"}
        self.numerics = Numerics(**{name: self.parameters[name] for name in names})
        self.steps, self.scores, self.p, self.sums = [], [], [], []
        self._rng = np.random.default_rng(seed)
        if tops:
            state = RowState(2, self.numerics)
            for k, top in enumerate(tops):
                place = {"bank": k % 2, "slot": 0, "first": k == 0, "last": k == len(tops) - 1}
                self._append(state, place, **self._below(2, top))
            return
        blocks = {}
        for k in range(n_steps):
            slot = 0 if one_slot else self._int(0, self.parameters["slots"])
            first = slot not in blocks
            if first:
                n_rows = rows or self._int(1, self.parameters["block_rows"] + 1)
                blocks[slot] = RowState(n_rows, self.numerics)
            last = self._rng.random() < 0.3
            place = {"bank": k % 2, "slot": slot, "first": first, "last": last}
            self._append(blocks[slot], place, **self._random(len(blocks[slot].total), extreme))
            if last:
                del blocks[slot]

    def _int(self, low, high):
        return int(self._rng.integers(low, high))

    def _below(self, n_rows, top):
        """Return scores that are whole base-2 scores: the first is at the top, one row lower."""
        numbers = self.numerics
        scores = self._rng.integers(-20, 1, (n_rows, numbers.size)) + (top or 0)
        scores[:, 0] = (top or 0) - np.arange(n_rows)
        job = {"mantissa": 1 << 16, "shift": 16 - numbers.fraction, "causal": 0, "diagonal": 0}
        return job | {"scores": scores, "keys": 0 if top is None else numbers.size}

    def _random(self, n_rows, extreme):
        numbers = self.numerics
        bits = numbers.score_width - 1
        shape = (n_rows, numbers.size)
        if extreme:
            scores = self._rng.choice([-1 << bits, (1 << bits) - 1, 0, 1, -1], shape)
            mantissa, shift = self._int(0, 1 << 17), self._int(0, 64)
        else:
            scores = self._rng.integers(-1 << bits, 1 << bits, shape)
            # The largest base-2 score is about 4 to 32.
            mantissa = self._int(1 << 16, 1 << 17)
            shift = bits + 17 - numbers.fraction - self._int(2, 6)
        causal, keys = self._int(0, 2), self._int(0, numbers.size + 1)
        far = [-numbers.tokens, 2 * numbers.tokens - 1]
        diagonal = self._int(-n_rows - 1, numbers.size + 2)
        diagonal = int(self._rng.choice(far)) if self._int(0, 5) == 0 else diagonal
        job = {"mantissa": mantissa, "shift": shift, "causal": causal, "diagonal": diagonal}
        return job | {"scores": scores, "keys": keys}

    def _append(self, state, place, *, scores, **job):
        numbers, n_rows = self.numerics, len(state.total)
        diagonal, mantissa, shift = job["diagonal"], job["mantissa"], job["shift"]
        visible = visible_keys(
            n_rows, job["keys"], numbers, diagonal=diagonal if job["causal"] else None
        )
        made = state.step(base2_scores(scores, mantissa, shift, numbers), visible)

        digits, width = split(made.p, numbers), self.parameters["row_width"]
        digits &= (1 << numbers.stream_width) - 1
        for row, chunk in itertools.product(range(n_rows), range(numbers.size // width)):
            part = digits[:, row, chunk * width : (chunk + 1) * width].T
            where = {"bank": place["bank"], "row": row, "chunk": chunk}
            old, new = int(made.old_shift[row]), int(made.new_shift[row])
            rescale = {"amount": max(old, new), "of_new": int(new > 0)}
            self.p.append(where | {"digits": part.tolist(), "rescale": rescale})
        if place["last"]:
            self.sums += [
                {"l": int(total), "tag": {"slot": place["slot"], "row": row}}
                for row, total in enumerate(state.total)
            ]
        self.scores.append(scores.tolist())
        self.steps.append(place | job | {"rows": n_rows, "d_tiles": 1})


def plain(value):
    """Turn a sampled payload into Python numbers, lists and dictionaries."""
    if isinstance(value, int):
        return value
    shape = value.shape()
    if hasattr(shape, "members"):
        return {name: plain(value[name]) for name in shape.members}
    return [plain(value[i]) for i in range(shape.length)]


def run(script, *, stall=0.0, seed=0):
    """Let a row unit do the steps; return what left each port, and when."""
    dut = RowUnit(**script.parameters)
    width = script.parameters["row_width"]
    chunks = script.numerics.size // width
    log = {name: [] for name in ("released", "o_p", "o_sum", "done", "step", "read")}
    reads = iter(
        [
            (
                step["bank"],
                chunk | row << (chunks - 1).bit_length(),
                scores[row][chunk * width : (chunk + 1) * width],
                row == 0 and chunk == 0,
            )
            for step, scores in zip(script.steps, script.scores, strict=True)
            for row in range(step["rows"])
            for chunk in range(chunks)
        ]
    )
    rng = random.Random(seed)

    async def drive(ctx):
        for step in script.steps:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.step.payload, step)
            ctx.set(dut.step.valid, 1)
            await ctx.tick().until(dut.step.ready)
            ctx.set(dut.step.valid, 0)
        for _ in range(100):
            await ctx.tick()

    async def memory(ctx):
        signals = (dut.r.en, dut.r.bank, dut.r.address)
        cycle = 0
        async for _, _, en, bank, address in ctx.tick().sample(*signals):
            # What is not asked for is not there: -1 everywhere.
            scores = [-1] * width
            if en:
                *expected, scores, starts = next(reads)
                assert [bank, address] == expected
                log["read"].append((cycle, starts))
            ctx.set(dut.r.data, scores)
            cycle += 1

    async def watch(ctx):
        ports = {name: getattr(dut, name) for name in log if name not in ("read", "step")}
        signals = [s for port in ports.values() for s in (port.valid, port.payload)]
        cycle = 0
        async for _, _, *sampled in ctx.tick().sample(*signals):
            for name, valid, payload in zip(ports, sampled[::2], sampled[1::2], strict=True):
                if valid:
                    log[name].append((cycle, plain(payload)))
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_process(memory)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert next(reads, None) is None
    return log


def check(script, log):
    """Compare values with the model; and times with each other, which never change."""
    assert [item for _, item in log["o_p"]] == script.p
    assert [item for _, item in log["o_sum"]] == script.sums
    parameters = script.parameters
    chunks = parameters["size"] // parameters["row_width"]
    levels = (parameters["row_width"] - 1).bit_length()
    exp2_latency = 4 + (2 if parameters["p_width"] < 15 else 3)
    latency = 14 + chunks + levels + exp2_latency
    assert [cycle - latency for cycle, _ in log["o_p"]] == [cycle for cycle, _ in log["read"]]
    banks = [{"bank": step["bank"]} for step in script.steps]
    ends = np.cumsum([step["rows"] * chunks for step in script.steps]) - 1
    reads, writes = log["read"], log["o_p"]
    assert log["released"] == [(reads[e][0] + 1, b) for e, b in zip(ends, banks, strict=True)]
    assert log["done"] == [(writes[e][0] + 1, b) for e, b in zip(ends, banks, strict=True)]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_random_steps(changes):
    script = Script(**changes)
    check(script, run(script, stall=0.3))


@pytest.mark.parametrize("seed", range(3))
def test_extreme_scores_and_factors(seed):
    script = Script(seed=seed, extreme=True)
    check(script, run(script))


def test_sinks():
    """A first tile far above the rest, rising maxima, nothing visible, and a new sink."""
    script = Script(tops=[40, 0, 3, 9, None, 27, 39, None, 41, 2000, 1990, None, -30000, 32767])
    check(script, run(script))


def test_every_rescale():
    tops, highest = [0], 0
    for amount in range(67):
        tops += [highest + amount, highest]
        highest += amount
    script = Script(tops=tops)
    amounts = {(p["rescale"]["of_new"], p["rescale"]["amount"]) for p in script.p}
    assert amounts == {(0, n) for n in range(64)} | {(1, n) for n in range(1, 64)}
    check(script, run(script))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8])
def test_steps_of_one_slot_follow_each_other_as_soon_as_its_state_allows(rows):
    script = Script(seed=rows, rows=rows, one_slot=True, block_rows=8, row_width=4)
    log = run(script)
    check(script, log)
    starts = [cycle for cycle, is_start in log["read"] if is_start]
    assert set(np.diff(starts)) == {max(rows, SPACING)}


def test_reads_of_a_step_are_one_a_cycle():
    script = Script(rows=3)
    cycles = [cycle for cycle, _ in run(script, stall=0.8)["read"]]
    for first in range(0, len(cycles), 6):
        assert list(np.diff(cycles[first : first + 6])) == [1] * 5


def test_it_accepts_nothing_without_a_step():
    dut = RowUnit(**DEFAULT)

    async def drive(ctx):
        for _ in range(50):
            await ctx.tick()
            for port in (dut.released, dut.o_p, dut.o_sum, dut.done):
                assert not ctx.get(port.valid)
            assert not ctx.get(dut.r.en)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_width": 3}, "Row width must divide size 4, not 3"),
        ({"row_width": 0}, "Row width must be a positive integer, not 0"),
        ({"block_rows": 0}, "Block rows must be a positive integer, not 0"),
        ({"slots": 0}, "Slots must be a positive integer, not 0"),
        ({"p_width": 17}, "P_width must be 7 to 16 when stream_width is 8, not 17"),
    ],
)
def test_bad_parameters(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RowUnit(**(DEFAULT | changes))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"^Slots must be a positive integer, not 1\.5$"):
        RowUnit(**(DEFAULT | {"slots": 1.5}))


def test_equal_parts_are_one_module():
    rtlil = emit(RowUnit(**DEFAULT)).rtlil
    assert len(re.findall(r"^module \\exp2_", rtlil, re.MULTILINE)) == 1
