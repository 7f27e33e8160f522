"""The feeder streams the rows of each pass once what they are made of is there."""

import random
import re
from itertools import accumulate, pairwise

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.lane.feeder import Feeder
from qkloom.rtl.lane.output import OutputAccumulator
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPES = {
    "one digit": {"size": 4, "block_rows": 3, "head_dim": 8, "slots": 2, "digits": 1},
    "two digits": {"size": 4, "block_rows": 4, "head_dim": 12, "slots": 2, "digits": 2},
    "one of each": {"size": 4, "block_rows": 1, "head_dim": 4, "slots": 1, "digits": 2},
    "odd sizes": {"size": 2, "block_rows": 5, "head_dim": 6, "slots": 3, "digits": 1},
    "4 bits": {
        "size": 4,
        "block_rows": 3,
        "head_dim": 8,
        "slots": 2,
        "digits": 2,
        "stream_width": 4,
    },
}


def words(kind, *place, n, width, is_signed):
    """Return what a memory holds in a place: numbers made from where they are."""
    rng = random.Random(f"{kind} {place}")
    low = -1 << width - 1 if is_signed else 0
    return [rng.randrange(low, low + (1 << width)) for _ in range(n)]


class Script:
    """Random passes in a lane's order, and the rows that must come of them."""

    def __init__(
        self,
        *,
        n_steps,
        seed,
        rows=None,
        size,
        block_rows,
        head_dim,
        slots,
        digits,
        stream_width=8,
    ):
        self.size, self.digits, self.width = size, digits, stream_width
        rng = random.Random(seed)
        self.tile_bits = (head_dim // size - 1).bit_length()
        self.passes, self.rows = [], []
        steps = []
        for n in range(n_steps):
            step = {
                "first": int(n == 0 or steps[-1]["last"]),
                "last": int(rng.random() < 0.4),
                "slot": rng.randrange(slots),
                "bank": n % 2,
                "rows": rows or rng.randint(1, block_rows),
                "d_tiles": rng.randint(1, head_dim // size),
            }
            if not step["first"]:
                step |= {name: steps[-1][name] for name in ("slot", "rows", "d_tiles")}
            steps.append(step)
            self.add(step, value=0)
            if n:
                self.add(steps[-2], value=1)
        self.add(steps[-1], value=1)

    def add(self, step, *, value):
        for tile in range(step["d_tiles"]):
            work = {**step, "value": value, "tile": tile}
            work["tile_last"] = int(tile == step["d_tiles"] - 1)
            self.passes.append(work)
            self.rows.append([self.row(work, n) for n in range(self.n_rows(work))])

    def n_rows(self, work):
        return work["rows"] * (self.digits if work["value"] else 1)

    def row(self, work, n):
        row, digit = divmod(n, self.digits if work["value"] else 1)
        is_last = n == self.n_rows(work) - 1
        tag = {name: work[name] for name in ("value", "slot", "bank", "tile")}
        tag |= {"row": row, "rescale": None, "partial": 0, "first": int(work["tile"] == 0)}
        tag["complete"] = int(is_last and work["tile_last"])
        elements = self.query(work["slot"], work["tile"] | row << self.tile_bits)
        if work["value"]:
            probabilities, rescale = self.probability(work["bank"], row)
            elements = [
                digits[digit] - (digits[digit] >> self.width - 1 << self.width)
                for digits in probabilities
            ]
            tag |= {"first": work["first"], "rescale": rescale}
            tag["partial"] = int(digit < self.digits - 1)
            tag["complete"] &= work["last"]
        return {"row": elements, "new_tile": int(n == 0), "tag": tag}

    def query(self, bank, address):
        return words("query", bank, address, n=self.size, width=self.width, is_signed=True)

    def probability(self, bank, row):
        n = self.size * self.digits
        numbers = words("p", bank, row, n=n, width=self.width, is_signed=False)
        chunks = [numbers[i : i + self.digits] for i in range(0, len(numbers), self.digits)]
        return chunks, {"amount": (7 * row + 31 * bank) % 64, "of_new": row % 2}

    @property
    def tokens(self):
        """Passes that wait for something: their number, the stream, and its payload."""
        waiting = []
        for n, work in enumerate(self.passes):
            if work["value"] and work["tile"] == 0:
                waiting.append((n, "done", {"bank": work["bank"]}))
            elif work["first"] and work["tile"] == 0:
                waiting.append((n, "loaded", {"slot": work["slot"]}))
        return waiting


def run(shape, script, *, pace=None, delay=0.0, seed=0, cycles=4000):
    """Feed; return the log, rows with a cycle each, and when tokens came and reads were made."""
    dut = Feeder(**shape)
    rng = random.Random(seed)
    tokens, reads = {}, []
    until = [0, *accumulate(len(rows) for rows in script.rows)]

    async def announce(ctx):
        # A token is one bit: it must be used before it comes again, two passes later at least.
        cycle = 0
        for n, name, payload in script.tokens:
            while len(reads) < until[max(n - 1, 0)] or rng.random() < delay:
                await ctx.tick()
                cycle += 1
            port = getattr(dut, name)
            ctx.set(port.valid, 1)
            ctx.set(port.payload, payload)
            await ctx.tick()
            tokens[n] = cycle
            cycle += 1
            ctx.set(port.valid, 0)

    async def memories(ctx):
        q, p = dut.queries, dut.probabilities
        cycle = 0
        async for _, _, q_en, bank, address, p_en, p_bank, row in ctx.tick().sample(
            q.en, q.bank, q.address, p.en, p.bank, p.row
        ):
            # What is not asked for is not there.
            ctx.set(q.data, script.query(bank, address) if q_en else [5] * script.size)
            digits, rescale = (
                script.probability(p_bank, row) if p_en else ([], {"amount": 21, "of_new": 1})
            )
            ctx.set(p.digits, digits or [[5] * script.digits] * script.size)
            ctx.set(p.rescale, rescale)
            assert not (q_en and p_en)
            if q_en or p_en:
                reads.append(cycle)
            cycle += 1

    layout = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(layout, work) for work in script.passes]},
        outputs=["o"],
        cycles=cycles,
        idle=200,
        pace=pace,
        beside=[announce, memories],
    )
    rows = [from_bits(dut.o.payload.shape(), item) for item in log["o"].items]
    for row in rows:
        if not row["tag"]["value"]:
            row["tag"]["rescale"] = None  # means nothing
    return log, rows, tokens, reads


@pytest.mark.parametrize("pace", [1.0, 0.6])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rows_of_passes(shape, pace):
    script = Script(n_steps=10, seed=1, **shape)
    log, rows, tokens, reads = run(
        script=script, shape=shape, pace={"i": pace, "o": pace}, delay=0.9
    )
    assert rows == [row for rows in script.rows for row in rows]
    first = 0
    for n, of_pass in enumerate(script.rows):
        # It waits for its token; then, if nobody stalls, rows are one cycle apart.
        assert n not in tokens or reads[first] > tokens[n]
        if pace == 1:
            start = log["o"].cycles[first]
            assert log["o"].cycles[first : first + len(of_pass)] == [
                *range(start, start + len(of_pass))
            ]
        first += len(of_pass)
    assert len(reads) == first


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("digits", [1, 2])
def test_passes_follow_each_other_as_soon_as_the_accumulator_allows(digits, rows):
    shape = {"size": 4, "block_rows": 6, "head_dim": 16, "slots": 2, "digits": digits}
    script = Script(n_steps=6, seed=5, rows=rows, **shape)
    log, _, tokens, _ = run(shape, script)
    n_rows = [len(rows) for rows in script.rows]
    starts = [log["o"].cycles[sum(n_rows[:n])] for n in range(len(n_rows))]
    for n, (start, after) in enumerate(pairwise(starts), 1):
        # Read in the cycle after the token, through the queue, out.
        apart = max(n_rows[n - 1], OutputAccumulator.feedback)
        assert after == max(start + apart, tokens.get(n, 0) + 3)


def test_a_bank_that_no_second_product_waits_for_must_have_been_read():
    shape = SHAPES["two digits"]
    dut = Feeder(**shape, single=True)
    work = {"value": 0, "last": 0, "slot": 0, "rows": 4, "d_tiles": 2, "single": 1}
    passes = [
        {**work, "first": int(step == 0), "bank": step % 2, "tile": tile, "tile_last": tile}
        for step in range(4)
        for tile in range(2)
    ]
    drained = {60: 0, 90: 1}  # by the cycle

    async def announce(ctx):
        ctx.set(dut.loaded.valid, 1)
        await ctx.tick()
        ctx.set(dut.loaded.valid, 0)
        for cycle in range(1, 120):
            ctx.set(dut.drained.valid, int(cycle in drained))
            ctx.set(dut.drained.payload, {"bank": drained.get(cycle, 0)})
            await ctx.tick()

    log = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), work) for work in passes]},
        outputs=["o"],
        cycles=150,
        beside=[announce],
    )
    starts = log["o"].cycles[:: 4 * 2]  # of steps: two passes of four rows
    assert len(log["o"].items) == len(passes) * 4
    assert starts[1] < 40
    # Read once the token is there, through the queue, out.
    assert starts[2:] == [60 + 4, 90 + 4]


def test_what_waits_in_the_queue_is_not_lost():
    shape = SHAPES["two digits"]
    script = Script(n_steps=4, seed=2, rows=4, **shape)
    log, rows, _, reads = run(shape, script, pace={"o": lambda cycle: cycle >= 100})
    assert log["o"].valid_cycles[0] < 10
    assert len([cycle for cycle in reads if cycle < 100]) == 7  # one in the spacer
    assert rows == [row for rows in script.rows for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digits": 3}, "Digits must be 1 or 2, not 3"),
        ({"block_rows": 0}, "Block rows must be a positive integer, not 0"),
        ({"head_dim": 6}, "Head_dim must be a multiple of size 4, not 6"),
        ({"stream_width": 5}, "Stream width must be 4 or 8, not 5"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Feeder(**SHAPES["one digit"] | change)


def test_it_emits():
    assert emit(Feeder(**SHAPES["two digits"])).rtlil
