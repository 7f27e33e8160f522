"""Selections and records arrive in memory, each row at its place."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.mover.selection import RECORD_WORDS, SelectionMover, record_bytes
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import simulate, to_bits

SELECTION, VERDICTS = 0xFFFF_FF00, 0x2_0000_0000
"""Rows pass the end of the lower half of an address."""


def run(heads, rows, words, *, data_width=128, row_bytes=64, memory=None, halts_at=None, **pace):
    """Write a call; return memory, records as words, and what was seen of ``written``."""
    rng = random.Random(heads)
    dut = SelectionMover(row_bytes=row_bytes, blocks=40, data_width=data_width)
    signature = dut.signature.members["bus"].signature
    memory = Responder(signature, seed=1, **(memory or {}))
    checker = AXIChecker(signature)
    masks = [[rng.getrandbits(32) for _ in range(words)] for _ in range(heads * rows)]
    records = [[rng.getrandbits(32) for _ in range(RECORD_WORDS)] for _ in range(heads)]
    seen = []

    async def drive(ctx):
        ctx.set(dut.rows, rows)
        ctx.set(dut.selection, SELECTION)
        ctx.set(dut.verdicts, VERDICTS)
        ctx.set(dut.begins, 1)
        await ctx.tick()
        ctx.set(dut.begins, 0)
        cycle = 1
        ports = (dut.written, dut.idle, dut.failed)
        async for _, _, *state in ctx.tick().sample(*ports):
            seen.append(tuple(state))
            cycle += 1
            if cycle == halts_at:
                ctx.set(dut.halt, 1)

    simulate(
        dut,
        inputs={
            "masks": [
                to_bits(dut.masks.payload.shape(), {"mask": word, "last": k == words - 1})
                for row in masks
                for k, word in enumerate(row)
            ],
            "record": [to_bits(dut.record.payload.shape(), {"words": w}) for w in records],
        },
        outputs=[],
        cycles=10_000,
        idle=150,
        pace={"masks": lambda cycle: (cycle > 2) * pace.get("masks", 1.0), **{"record": 1.0}}
        | {name: p for name, p in pace.items() if name != "masks"},
        beside=[drive, memory.process(dut.bus), checker.process(dut.bus)],
    )
    assert checker.broken == [] and checker.finish() == []
    return memory.written, expected(masks, records, data_width, row_bytes), seen


def expected(masks, records, data_width, row_bytes):
    """Return the bytes of a call: rows and records, with zeros up to the end of a beat."""
    found = {}
    for base, step, parts in (
        (SELECTION, row_bytes, masks),
        (VERDICTS, record_bytes(data_width), records),
    ):
        for number, words in enumerate(parts):
            content = b"".join(word.to_bytes(4, "little") for word in words)
            content += bytes(-len(content) % (data_width // 8))
            found |= dict(enumerate(content, base + step * number))
    return found


@pytest.mark.parametrize(("data_width", "row_bytes"), [(32, 32), (128, 64), (256, 32), (512, 64)])
@pytest.mark.parametrize(("rows", "words"), [(1, 1), (5, 1), (3, 7), (40, 2)])
def test_every_shape(data_width, row_bytes, rows, words):
    written, wanted, seen = run(
        3, rows, words, data_width=data_width, row_bytes=row_bytes, memory={"latency": (1, 40)}
    )
    assert written == wanted
    assert sum(state[0] for state in seen) == 3  # a pulse for each head
    assert seen[-1] == (0, 1, 0)


@pytest.mark.parametrize("w_first", [False, True])
def test_stalls(w_first):
    memory = {"latency": (1, 60), "pace": 0.4, "w_first": w_first}
    written, wanted, seen = run(6, 9, 3, memory=memory, masks=0.5, record=0.1)
    assert written == wanted
    assert sum(state[0] for state in seen) == 6


def test_a_head_is_written_when_all_of_it_is():
    """The pulse comes behind the last response, of the record that comes last."""
    written, wanted, seen = run(1, 4, 2, memory={"latency": (90, 90)})
    assert written == wanted
    assert next(cycle for cycle, state in enumerate(seen) if state[0]) > 90


def test_responses():
    errors = dict.fromkeys(range(VERDICTS, VERDICTS + 64, 16), 2)
    _, _, seen = run(2, 2, 1, memory={"errors": errors})
    assert seen[-1] == (0, 1, 2)


def test_halt():
    written, wanted, seen = run(6, 9, 3, memory={"latency": (20, 40)}, halts_at=60)
    assert written.items() < wanted.items()
    assert seen[-1][1] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 0}, "Blocks must be a positive integer, not 0"),
        ({"data_width": 16}, "Data width must be a power of two of at least 32, not 16"),
        ({"row_bytes": 8}, "Row bytes must be a power of two of at least a beat, 16, not 8"),
        ({"row_bytes": 48}, "Row bytes must be a power of two of at least a beat, 16, not 48"),
    ],
)
def test_errors(changes, message):
    given = {"row_bytes": 64, "blocks": 40, "data_width": 128} | changes
    with pytest.raises(ValueError, match=f"^{message}$"):
        SelectionMover(**given)


def test_emits():
    emit(SelectionMover(row_bytes=128, blocks=1024, data_width=256), verilog=True)
