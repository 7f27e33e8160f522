"""Rows of a selection: marks of all blocks that are seen, and query blocks cut behind the last."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.call import SELECTION_WIDTH, row_words
from qkloom.rtl.sequencer.select import Selector
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = dict(n_lanes=3, slots=2, heads=4, tokens=600, head_dim=8, size=4, block=8, data_width=64)
WORDS = row_words(tokens=600, block=8, data_width=64)  # 75 blocks: 128 bits


def random_entry(rng):
    return {
        "entry": {
            "lane": rng.randrange(3),
            "slot": rng.randrange(2),
            "head": rng.randrange(4),
            "q_index": rng.randrange(300),
            "kv_index": rng.randrange(300),
            "rows": rng.randint(1, 8),
            "keys": rng.choice([1, 8, 9, 255, 256, 257, 600, rng.randint(1, 600)]),
            "diagonal": rng.randint(-600, 600),
            "run_ends": rng.randrange(2),
            "round_ends": rng.randrange(2),
        },
        "mantissa": rng.getrandbits(17),
        "shift": rng.getrandbits(6),
    }


def random_row(rng):
    """Return the bits of a row; any may be set, also where no block is."""
    share = rng.choice([0, 0.01, 0.5, 1])
    return [int(rng.random() < share) for _ in range(SELECTION_WIDTH * WORDS)]


def expected(given, row):
    """Return the words that are asked for, the marks, and what becomes of a query block."""
    entry = given["entry"]
    n = -(-entry["keys"] // 8)
    words = [entry["q_index"] * WORDS + k for k in range(-(-n // SELECTION_WIDTH))]
    mark = {"lane": entry["lane"], "ends": 0}
    marks = [mark | {"block": block, "needs": bit} for block, bit in enumerate(row[:n])]
    chosen = [block for block, bit in enumerate(row[:n]) if bit]
    marks.append(mark | {"block": 0, "needs": int(not chosen), "ends": entry["round_ends"]})
    if chosen:
        changes = {"keys": min(entry["keys"], 8 * (chosen[-1] + 1))}
    else:
        changes = {"keys": 1, "diagonal": -8}
    return words, marks, given | {"entry": entry | changes, "hidden": int(not chosen)}


def words_of(cases):
    """Return the words that are asked for."""
    return [
        sum(bit << k for k, bit in enumerate(row[32 * (n % WORDS) : 32 * (n % WORDS) + 32]))
        for given, row in cases
        for n in expected(given, row)[0]
    ]


def answers(dut, words, pace):
    """Return a process that takes requests, and answers them in order some time later."""
    rng = random.Random(pace)

    async def process(ctx):
        waits = 0
        signals = (dut.request.valid, dut.request.ready, dut.word.valid, dut.word.ready)
        async for _, _, asks, takes, offers, taken in ctx.tick().sample(*signals):
            waits += asks & takes
            if offers and taken:
                ctx.set(dut.word.valid, 0)
            if waits and (taken or not offers) and rng.random() < pace:
                waits -= 1
                ctx.set(dut.word.payload, words.pop(0))
                ctx.set(dut.word.valid, 1)
            ctx.set(dut.request.ready, rng.random() < pace)

    return process


def run(cases, memory=1, **pace):
    dut = Selector(**SHAPE)
    plans = [expected(given, row) for given, row in cases]
    logs = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), given) for given, _ in cases]},
        outputs=["o", "marks"],
        watched=["request", "word"],
        cycles=40_000,
        idle=300,
        pace=pace,
        beside=[answers(dut, words_of(cases), memory)],
    )

    def got(name):
        shape = getattr(dut, name).payload.shape()
        return [from_bits(shape, bits) for bits in logs[name].items]

    assert logs["request"].items == [word for words, _, _ in plans for word in words]
    assert got("marks") == [mark for _, marks, _ in plans for mark in marks]
    assert got("o") == [entry for _, _, entry in plans]
    return logs


@pytest.mark.parametrize(
    "pace", [{}, {"memory": 0.1}, {"marks": 0.3}, {"o": 0.1, "memory": 0.5}, {"i": 0.1}]
)
def test_random_rows(pace):
    rng = random.Random(1)
    run([(random_entry(rng), random_row(rng)) for _ in range(60)], **pace)


def test_a_block_takes_a_cycle():
    rng = random.Random(2)
    given = random_entry(rng)
    given["entry"]["keys"] = 600
    logs = run([(given, random_row(rng))] * 3)
    steps = {b - a for a, b in zip(logs["o"].cycles, logs["o"].cycles[1:], strict=False)}
    # 75 marks, two cycles before each of three words, and what the answer takes besides
    assert steps == {75 + 2 * 3 + 3}


def test_the_mark_of_a_round_s_end_comes_before_its_last_query_block():
    rng = random.Random(3)
    logs = run([(random_entry(rng), random_row(rng)) for _ in range(4)], marks=0.2)
    assert logs["o"].cycles[-1] > logs["marks"].cycles[-1]


def test_conversion():
    emit(Selector(**SHAPE, gemm=True), verilog=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 0}, r"^Heads must be a positive integer, not 0$"),
        ({"tokens": 0}, r"^Tokens must be a positive integer, not 0$"),
        ({"block": 0}, r"^Block must be a positive integer, not 0$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Selector(**{**SHAPE, **changes})
