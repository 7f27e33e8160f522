"""Jobs, and what is to be moved for them: the schedule, with addresses."""

import itertools
import random

import pytest
from amaranth.hdl import Value

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.call import SELECTION_WIDTH, n_blocks, row_words
from qkloom.rtl.sequencer.sequencer import Sequencer
from qkloom.tb.simulate import from_bits, simulate, to_bits

from . import test_product
from .test_walk import SHAPE, expected, random_call, random_index_call, random_mask, shift_of

CHANNELS = {"q": 2, "k": 1, "v": 4, "o": 2}
BEAT = 16
WIDTHS = {"q": 8, "k": 8, "v": 8, "o": 32}


def sequencer(**changes):
    given = dict(SHAPE, n_lanes=2, channels=tuple(CHANNELS.items()), data_width=8 * BEAT)
    return Sequencer(**{**given, **changes})


def random_task(rng, paged, call=None):
    """Return a call with places of its tensors, some near a carry into the upper half."""

    def pointer():
        return rng.choice([0xFFFF_F000, rng.getrandbits(59) * BEAT]) + rng.randrange(256) * BEAT

    return {
        "call": call or random_call(rng),
        **{name: [pointer() for _ in range(n)] for name, n in CHANNELS.items()},
        "factors": pointer(),
        "table": pointer(),
        "paged": int(paged),
    }


def moves(name, requests, task, places):
    """Return what is to be moved of a tensor."""
    n, size, block = CHANNELS[name], SHAPE["size"], SHAPE["block"]
    width = 8 if task["call"].get("gemm") else WIDTHS[name]
    row = size * task["call"]["d_tiles"] * width  # bits of a token
    found = []
    for request in requests:
        number = request["index"]
        if name in "kv" and task["paged"]:
            number = places[number]
        tokens = number // n * block + request["tile"] * size
        found.append(
            {
                "to": request["to"],
                "channel": number % n,
                "addr": task[name][number % n] + tokens * row // 8,
                "beats": -(-request["tokens"] * row // (8 * BEAT)),
                "tokens": request["tokens"],
            }
        )
    return found


def memory(dut, name, base_of, entry_bytes, entry, rng):
    """Return a process that reads a table, and a list of the beats that were read."""
    command, beat = getattr(dut, f"{name}_command"), getattr(dut, f"{name}_beat")
    read = []

    async def process(ctx):
        waits = []
        signals = (command.valid, command.ready, command.payload.addr, beat.valid, beat.ready)
        async for _, _, asks, takes, addr, offers, taken in ctx.tick().sample(*signals):
            if offers and taken:
                ctx.set(beat.valid, 0)
            if asks and takes:
                read.append(addr)
                waits.append(addr)
            if waits and (taken or not offers) and rng.random() < 0.3:
                first = (waits.pop(0) - base_of()) // entry_bytes
                data = sum(
                    entry(first + k) << 8 * entry_bytes * k for k in range(BEAT // entry_bytes)
                )
                ctx.set(Value.cast(beat.payload), data | 1 << 8 * BEAT)
                ctx.set(beat.valid, 1)
            ctx.set(command.ready, rng.random() < 0.5)

    return process, read


def selection_word(number, mask, rng):
    """Return a word of a selection in memory; bits beyond the blocks that there are are random."""
    row, word = divmod(number, row_words(tokens=SHAPE["tokens"], block=8, data_width=8 * BEAT))
    bits = rng.getrandbits(SELECTION_WIDTH)
    rows = mask.reshape(-1, mask.shape[-1])
    if row >= len(rows) or word:
        return bits
    n = mask.shape[-1]
    return bits >> n << n | sum(int(bit) << k for k, bit in enumerate(rows[row]))


def run(dut, tasks, places, rng, pace, masks=(), aware=()):
    """Let the sequencer do its tasks; return all streams, and reads of all tables."""
    done = []

    async def count(ctx):
        async for _, _, valid, ready in ctx.tick().sample(dut.i.valid, dut.i.ready):
            if valid and ready:
                done.append(1)

    def now():
        return tasks[len(done)]

    factors, factor_reads = memory(
        dut, "factor", lambda: now()["factors"], 8, lambda k: k | shift_of(k) << 32, rng
    )
    table, table_reads = memory(
        dut, "table", lambda: now()["table"], 4, lambda k: dict(enumerate(places)).get(k, 0), rng
    )
    watched, beside = ["factor_command", "table_command"], [count, factors, table]
    selection_reads = []
    if masks:
        rows, selection_reads = memory(
            dut,
            "selection",
            lambda: now()["selection"],
            4,
            lambda k: selection_word(k, masks[len(done)], rng),
            rng,
        )
        watched.append("selection_command")
        beside.append(rows)
    more = ["asks"] if hasattr(dut, "asks") else []
    logs = simulate(
        dut,
        inputs={
            "i": [to_bits(dut.i.payload.shape(), task) for task in tasks],
            **({"aware": [to_bits(dut.aware.payload.shape(), x) for x in aware]} if more else {}),
        },
        outputs=["jobs", "q", "k", "v", "o", *more],
        watched=watched,
        cycles=60_000,
        idle=150,
        pace=dict.fromkeys(["jobs", "q", "k", "v", "o"], pace),
        seed=rng.randrange(100),
        beside=beside,
    )
    assert len(logs["i"].items) == len(tasks)
    got = {
        name: [from_bits(getattr(dut, name).payload.shape(), bits) for bits in logs[name].items]
        for name in ("jobs", *CHANNELS, *more)
    }
    return got, factor_reads, table_reads, selection_reads


STREAM_OF = {"q": "rows", "k": "tiles", "v": "tiles", "o": "places"}
"""Which of the walker's streams a tensor's places come from."""


@pytest.mark.parametrize(("n_lanes", "pace"), [(1, 1.0), (2, 0.5), (3, 0.8)])
@pytest.mark.parametrize("paged", [False, True])
def test_is_the_schedule(n_lanes, pace, paged):
    rng = random.Random(10 * n_lanes + paged)
    dut = sequencer(n_lanes=n_lanes)
    tasks = [random_task(rng, paged) for _ in range(5)]
    places = list(range(n_blocks(heads=8, tokens=100, block=8)))
    rng.shuffle(places)
    got, factor_reads, table_reads, _ = run(dut, tasks, places, rng, pace)
    wanted = {name: [] for name in got}
    for task in tasks:
        plan = expected(task["call"], n_lanes)
        wanted["jobs"] += plan["jobs"]
        for name, stream in STREAM_OF.items():
            wanted[name] += moves(name, plan[stream], task, places)
    assert got == wanted
    assert factor_reads
    assert bool(table_reads) == paged
    # A beat is read once for the entries in it that are wanted one behind the other.
    assert all(a != b for a, b in itertools.pairwise(table_reads))


@pytest.mark.parametrize(("n_lanes", "pace"), [(1, 1.0), (2, 0.5), (3, 0.8), (5, 1.0)])
@pytest.mark.parametrize("gemm", [False, True])
def test_selections(n_lanes, pace, gemm):
    """Blocks that no lane needs are not asked for, whatever selection, and none at all."""
    rng = random.Random(10 * n_lanes + gemm)
    dut = sequencer(n_lanes=n_lanes, sparse=True, gemm=gemm, heads=12 if gemm else 8)
    tasks, masks, reads = [], [], []
    for _ in range(8):
        call = random_call(rng)
        mask = random_mask(rng, call)
        more = {"gemm": 0, "chunks": 0} if gemm else {}
        of_selection = {"selection": rng.getrandbits(50) * BEAT, "sparse": int(mask is not None)}
        tasks.append(random_task(rng, rng.randrange(2), call | more) | of_selection)
        masks.append(mask)
        if mask is not None:  # a row for each query block, and each row once
            row = 4 * row_words(tokens=SHAPE["tokens"], block=8, data_width=8 * BEAT)
            n = mask.shape[0] * mask.shape[1]
            reads += [of_selection["selection"] + row * k for k in range(n)]
    places = list(range(n_blocks(heads=8, tokens=100, block=8)))
    rng.shuffle(places)
    got, _, _, selection_reads = run(dut, tasks, places, rng, pace, masks)
    wanted = {name: [] for name in got}
    for task, mask in zip(tasks, masks, strict=True):
        plan = expected(task["call"], n_lanes, mask)
        if gemm:
            plan["rows"] = [row | {"to": 1 << row["to"]} for row in plan["rows"]]
            for job in plan["jobs"]:
                job["item"] |= {"gemm": 0, "out_slot": 0}
        wanted["jobs"] += plan["jobs"]
        for name, stream in STREAM_OF.items():
            wanted[name] += moves(name, plan[stream], task, places)
    assert got == wanted
    assert sorted(selection_reads) == sorted(reads)


@pytest.mark.parametrize(
    ("n_lanes", "key_heads", "pace"), [(1, 1, 1.0), (2, 2, 0.5), (4, 2, 0.8), (5, 3, 1.0)]
)
@pytest.mark.parametrize("gemm", [False, True])
def test_index_calls(n_lanes, key_heads, pace, gemm):
    """Scores of last queries, heads that are asked for, and neither values nor outputs."""
    rng = random.Random(100 * n_lanes + gemm)
    more = {"gemm": 0, "chunks": 0} if gemm else {}
    dut = sequencer(
        n_lanes=n_lanes,
        sparse=True,
        gemm=gemm,
        heads=12 if gemm else 8,
        index_tokens=96,
        key_heads=key_heads,
    )
    rule = dict.fromkeys(("gamma", "limit", "least", "most"), 0)
    tasks = []
    for number in range(8):
        call = random_index_call(rng) if number % 4 else random_call(rng)
        call |= more | {"selects": int(number % 4 > 0)}
        task = random_task(rng, rng.randrange(2), call)
        of_index = {"verdicts": 0, "heads": call["kv_heads"] * call["group"], "rule": rule}
        tasks.append(task | {"selection": 0, "sparse": 0} | of_index)
    places = list(range(n_blocks(heads=8, tokens=100, block=8)))
    rng.shuffle(places)
    asked = [task for task in tasks if task["call"]["selects"]]
    aware = [{"blocks": 1, "is_aware": 0} for task in asked for _ in range(task["heads"])]
    got, *_ = run(dut, tasks, places, rng, pace, aware=aware)
    wanted = {name: [] for name in got}
    for task in tasks:
        call = task["call"]
        plan = expected(call, n_lanes, key_heads=key_heads)
        rounds = {}  # by the place of a job in the list, the KV heads of its round
        if gemm:
            plan["rows"] = [row | {"to": 1 << row["to"]} for row in plan["rows"]]
        firsts = [job for job in plan["jobs"] if job["item"]["first"]]
        for number, job in enumerate(firsts if call["selects"] else []):
            head = job["item"]["mantissa"]
            if job["to"] == 0:
                rounds = {}
            key_head = rounds.setdefault(head // call["group"], len(rounds))
            wanted["asks"].append(
                {
                    "mantissa": head,
                    "shift": shift_of(head),
                    "key_head": key_head,
                    "ahead": 0,
                    "ends": int(number == len(firsts) - 1 or firsts[number + 1]["to"] == 0),
                }
            )
        for job in plan["jobs"]:
            job["item"] |= {"scores_only": call["selects"]}
            if gemm:
                job["item"] |= {"gemm": 0, "out_slot": 0}
        wanted["jobs"] += plan["jobs"]
        for name, stream in STREAM_OF.items():
            if name in "qk" or not call["selects"]:
                wanted[name] += moves(name, plan[stream], task, places)
    assert got == wanted


@pytest.mark.parametrize(("n_lanes", "pace"), [(1, 1.0), (3, 0.6)])
def test_products_and_attention(n_lanes, pace):
    """One behind the other, in any order: the weights are keys, and outputs have 8 bits."""
    rng = random.Random(n_lanes)
    dut = sequencer(n_lanes=n_lanes, heads=test_product.SHAPE["heads"], gemm=True)
    calls = [
        test_product.random_call(rng) if gemm else random_call(rng) | {"gemm": 0, "chunks": 0}
        for gemm in (1, 0, 0, 1, 1, 0)
    ]
    tasks = [random_task(rng, False, call) for call in calls]
    got, *_ = run(dut, tasks, [], rng, pace)
    wanted = {name: [] for name in got}
    turn = 0
    for task in tasks:
        if task["call"]["gemm"]:
            plan, turn = test_product.expected(task["call"], n_lanes, turn)
        else:
            plan = expected(task["call"], n_lanes)
            plan["rows"] = [row | {"to": 1 << row["to"]} for row in plan["rows"]]
            for job in plan["jobs"]:
                job["item"] |= {"gemm": 0, "out_slot": 0}
        wanted["jobs"] += plan["jobs"]
        for name, stream in STREAM_OF.items():
            if name != "v" or not task["call"]["gemm"]:
                wanted[name] += moves(name, plan[stream], task, [])
    assert got == wanted


def test_never_taken():
    """Nothing is lost when the lanes take no jobs."""
    rng = random.Random(1)
    dut = sequencer()
    task = random_task(rng, False)
    factors, _ = memory(dut, "factor", lambda: task["factors"], 8, lambda k: k, rng)
    logs = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), task)]},
        outputs=["jobs", "q", "k", "v", "o"],
        cycles=600,
        pace={"jobs": 0},
        beside=[factors],
    )
    assert logs["jobs"].valid_cycles and not logs["i"].items


@pytest.mark.parametrize("runtime_precision", [False, True])
def test_conversion(runtime_precision):
    features = dict.fromkeys(("runtime_precision", "gemm", "sparse"), runtime_precision)
    dut = sequencer(**features)
    emit(dut, verilog=True)
    assert ("planes" in dut.jobs.payload.shape()["item"].shape.members) == runtime_precision


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
        sequencer(**changes)
