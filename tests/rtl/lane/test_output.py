"""The output accumulator sums over key tiles, each below its own maximum."""

import re
from itertools import product

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.formats import Integer
from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.lane.output import OutputAccumulator
from qkloom.tb.lane.output import accumulate
from qkloom.tb.lane.row import combine
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"size": 4, "block_rows": 3, "head_dim": 12, "slots": 2}
VARIANTS = {
    "one digit": {"p_width": 8, "acc_width": 30},
    "one digit, just wide enough": {"p_width": 7, "acc_width": 23},
    "two signed digits": {"p_width": 14, "acc_width": 32},
    "two unsigned digits, widest sums": {"p_width": 16, "acc_width": 52},
    "one row, one tile, one slot": {
        "p_width": 15,
        "acc_width": 40,
        "block_rows": 1,
        "head_dim": 4,
        "slots": 1,
    },
    "odd sizes": {"p_width": 12, "acc_width": 36, "block_rows": 5, "head_dim": 20, "slots": 3},
}


class Script:
    """Query blocks in turn over the slots: rows from the matrix unit, and outputs.

    Two blocks are under way at a time, so that one is read while the other is updated. Rows of the
    first product, which are not for the accumulator, fill the time between.
    """

    def __init__(self, *, seed, p_width, acc_width, n_blocks=6, **shape):
        self.shape = shape = SHAPE | shape
        self.numerics = Numerics(
            size=shape["size"], head_dim=shape["head_dim"], tokens=1, p_width=p_width
        )
        self.acc = Integer(acc_width)
        # As wide as it takes to fill an accumulator in one step.
        weight = self.numerics.digit_bits * (self.numerics.digits - 1)
        self.product = Integer(acc_width - Numerics.acc_guard - weight)
        self.parameters = shape | {
            "product_width": self.product.width,
            "acc_width": acc_width,
            "digits": self.numerics.digits,
            "digit_bits": self.numerics.digit_bits,
        }
        self.rng = np.random.default_rng(seed)
        self.items, self.outputs, self.blocks = [], [], []
        for n in range(n_blocks):
            block = {
                "slot": n % shape["slots"],
                "rows": self.upto(shape["block_rows"]),
                "d_tiles": self.upto(shape["head_dim"] // shape["size"]),
            }
            self.add(block, n_steps=self.upto(5))
            if block["slot"] == shape["slots"] - 1:  # slots are read before they are used again
                n_places = shape["block_rows"] * shape["head_dim"] // shape["size"]
                self.fill(shape["slots"] * n_places + 8)

    def upto(self, most):
        return int(self.rng.integers(1, most + 1))

    def add(self, block, *, n_steps):
        shape = block["d_tiles"], block["rows"], self.shape["size"]
        acc = np.zeros(shape, np.int64)
        for step in range(n_steps):
            amount = self.rng.choice([0, 1, 2, 7, 8, 63, *self.rng.integers(0, 64, 3)], shape[1])
            of_new = self.rng.random(shape[1]) < 0.3
            shifts = {
                "old_shift": np.where(of_new, 0, amount)[:, None],
                "new_shift": np.where(of_new, amount, 0)[:, None],
            }
            sums = self.sums(acc, **shifts)
            acc = accumulate(acc, sums, self.numerics, **shifts)
            assert self.acc.min_raw <= acc.min() <= acc.max() <= self.acc.max_raw
            flags = {"first": step == 0, "last": step == n_steps - 1}
            self.add_rows(block, flags, sums, amount, of_new)
        self.blocks.append(block)
        self.outputs.append(acc.transpose(1, 0, 2).reshape(-1, shape[2]).tolist())

    def sums(self, acc, *, old_shift, new_shift):
        """Return sums of digits that lead to accumulators anywhere, and often to the ends."""
        low, high = self.acc.min_raw + 15, self.acc.max_raw  # sums are rounded down, by up to 15
        wanted = self.rng.choice([low, high, *self.rng.integers(low, high, 4)], acc.shape)
        kept = accumulate(acc, [[0]] * self.numerics.digits, self.numerics, old_shift=old_shift)
        room = wanted - kept >> self.numerics.acc_guard
        total = np.clip(room, *(limit * self.weight for limit in self.limits))
        if self.numerics.digits == 1:
            return total[None]
        base = self.numerics.digit_base
        spread = self.rng.integers(-99, 100, acc.shape)  # any low digit has its high digit
        digits = np.stack([total // base - spread, total % base + spread * base])
        assert (combine(digits, self.numerics) == total).all()
        return digits

    @property
    def limits(self):
        """Sums of one digit that leave room for the spread of the other."""
        spare = 100 if self.numerics.digits == 2 else 0
        return self.product.min_raw + spare, self.product.max_raw - spare

    @property
    def weight(self):
        return self.numerics.digit_base if self.numerics.digits == 2 else 1

    def add_rows(self, block, flags, sums, amount, of_new):
        n_digits, n_tiles, n_rows, _ = sums.shape
        begin = len(self.items)
        for tile, row, digit in product(range(n_tiles), range(n_rows), range(n_digits)):
            is_end = (tile, row, digit) == (n_tiles - 1, n_rows - 1, n_digits - 1)
            tag = {
                "value": 1,
                "first": flags["first"],
                "complete": flags["last"] and is_end,
                "partial": digit < n_digits - 1,
                "slot": block["slot"],
                "row": row,
                "tile": tile,
                "rescale": {"amount": amount[row], "of_new": of_new[row]},
            }
            self.items.append((sums[digit, tile, row], tag))
        # The same row comes again as soon as it may.
        self.fill(OutputAccumulator.feedback - (len(self.items) - begin))

    def fill(self, n):
        for _ in range(n):
            tag = dict.fromkeys(("value", "slot", "row", "tile"), 0)
            tag |= {"first": 1, "complete": 1, "partial": 0, "rescale": {"amount": 0, "of_new": 0}}
            self.items.append((self.rng.integers(-9, 9, self.shape["size"]), tag))


def drain(dut, places, found):
    """Return a process that reads query blocks as soon as they are complete."""

    async def process(ctx):
        wanted, asked, n_complete = [], [], 0
        o = dut.data.payload
        async for _, _, complete, taken, valid, *row in ctx.tick().sample(
            dut.complete.valid, dut.read.ready, dut.data.valid, *o
        ):
            if valid:
                found[asked.pop(0)].append(row)
            if wanted and taken:
                asked.append(wanted.pop(0)[0])
            if complete:
                wanted += [(n_complete, place) for place in places[n_complete]]
                found.append([])
                n_complete += 1
            ctx.set(dut.read.valid, bool(wanted))
            if wanted:
                ctx.set(dut.read.payload, wanted[0][1])

    return process


def run(script, *, pace=1.0):
    """Return the log, and what each query block held in the cycle after it was complete."""
    dut = OutputAccumulator(**script.parameters)
    found = []
    places = [
        [
            {"slot": block["slot"], "row": row, "tile": tile}
            for row in range(block["rows"])
            for tile in range(block["d_tiles"])
        ]
        for block in script.blocks
    ]
    shape = dut.i.payload.shape()
    items = [to_bits(shape, {"row": row, "tag": tag | {"bank": 0}}) for row, tag in script.items]
    log = simulate(
        dut,
        inputs={"i": items},
        outputs=["complete"],
        cycles=8000,
        idle=60,
        pace={"i": pace},
        beside=[drain(dut, places, found)],
    )
    complete = [from_bits(dut.complete.payload.shape(), item) for item in log["complete"].items]
    assert complete == script.blocks
    return log, found


@pytest.mark.parametrize("pace", [1.0, 0.5])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_outputs_of_random_steps(variant, pace):
    # Stalls come between the digits of a probability, too.
    script = Script(seed=1, **variant)
    assert run(script, pace=pace)[1] == script.outputs


@pytest.mark.parametrize("seed", range(4))
def test_a_row_may_come_again_after_the_least_distance(seed):
    script = Script(seed=seed, p_width=8, acc_width=30, block_rows=1 + seed, head_dim=4)
    assert run(script)[1] == script.outputs


@pytest.mark.parametrize(("variant", "latency"), [("one digit", 6), ("two signed digits", 7)])
def test_complete_comes_a_fixed_time_after_the_last_row(variant, latency):
    script = Script(seed=2, **VARIANTS[variant])
    log, _ = run(script)
    assert OutputAccumulator(**script.parameters).latency == latency
    last = [
        cycle
        for cycle, (_, tag) in zip(log["i"].cycles, script.items, strict=True)
        if tag["complete"] and tag["value"]
    ]
    assert log["complete"].cycles == [cycle + latency for cycle in last]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"digits": 0}, ValueError, "Digits must be 1 or 2, not 0"),
        ({"product_width": 0}, ValueError, "Product width must be a positive integer, not 0"),
        ({"acc_width": -1}, ValueError, "Accumulator width must be a positive integer, not -1"),
        ({"digit_bits": 7.0}, TypeError, "Digit bits must be a positive integer, not 7.0"),
        ({"head_dim": 9}, ValueError, "Head_dim must be a multiple of size 4, not 9"),
        ({"slots": 0}, ValueError, "Slots must be a positive integer, not 0"),
        ({"memory": "x"}, ValueError, "Memory must be one of 'auto', 'block', 'ultra', not 'x'"),
    ],
)
def test_bad_parameters(change, error, message):
    parameters = SHAPE | {"product_width": 18, "acc_width": 30, "digits": 2, "digit_bits": 7}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        OutputAccumulator(**parameters | change)


def test_reads_wait_for_updates():
    script = Script(seed=3, p_width=8, acc_width=30)
    dut = OutputAccumulator(**script.parameters)
    shape = dut.i.payload.shape()
    row, tag = next(item for item in script.items if item[1]["value"] and not item[1]["first"])
    word = to_bits(shape, {"row": row, "tag": tag | {"bank": 0}})
    place = to_bits(dut.read.payload.shape(), {"slot": 0, "row": 0, "tile": 0})
    pace = {"i": lambda cycle: cycle < 20 or cycle % 2}
    inputs = {"i": 30 * [word], "read": 8 * [place]}
    log = simulate(dut, inputs=inputs, outputs=["data"], cycles=200, idle=20, pace=pace)
    busy = {cycle + 1 for cycle in log["i"].cycles}
    assert not busy & set(log["read"].cycles)
    assert log["data"].cycles == [cycle + 1 for cycle in log["read"].cycles]
    assert len(log["data"].items) == 8


def test_it_emits():
    script = Script(seed=0, **VARIANTS["odd sizes"])
    assert emit(OutputAccumulator(**script.parameters)).rtlil
    ultra = emit(OutputAccumulator(**script.parameters, memory="ultra")).rtlil
    assert 'attribute \\ram_style "ultra"' in ultra
