"""All queries of query-aware heads, and of those ahead, are asked for, and no others."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.queries import AwareQueries
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"n_lanes": 3, "heads": 6, "tokens": 100, "size": 4, "block": 8}


def tiles_of(read, tokens):
    """Return the tiles of all heads that are read."""
    blocks = -(-tokens // 8)
    return [
        {
            "to": 0,
            "index": head * blocks + first // 8,
            "tile": first % 8 // 4,
            "tokens": min(4, tokens - first),
        }
        for head, is_read in enumerate(read)
        if is_read
        for first in range(0, tokens, 4)
    ]


def rounds_of(rng, heads=6):
    """Return numbers of heads that are so many together, three at most."""
    left = heads
    while left:
        yield (n := min(rng.randint(1, 3), left))
        left -= n


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 8, 9, 37, 100])
@pytest.mark.parametrize("pace", [1, 0.4])
@pytest.mark.parametrize("heads_ahead", [0, 1, 2, 3])
def test_calls_one_behind_the_other(tokens, pace, heads_ahead):
    rng = random.Random(tokens)
    calls = [[rng.randrange(2) for _ in range(6)] for _ in range(4)]
    rounds = [list(rounds_of(rng)) for _ in calls]
    dut = AwareQueries(**SHAPE)

    async def constants(ctx):
        ctx.set(dut.heads, 6)
        ctx.set(dut.tokens, tokens)

    heads = [{"blocks": -(-tokens // 8), "is_aware": x} for call in calls for x in call]
    ahead = [[k < heads_ahead for n in call for k in range(n)] for call in rounds]
    logs = simulate(
        dut,
        inputs={
            "i": [to_bits(dut.i.payload.shape(), head) for head in heads],
            "begins": [int(bit) for call in ahead for bit in call],
        },
        outputs=["o"],
        cycles=20_000,
        idle=100,
        pace={"i": pace, "o": pace, "begins": pace},
        beside=[constants],
    )
    got = [from_bits(dut.o.payload.shape(), bits) for bits in logs["o"].items]
    read = [[a or b for a, b in zip(*of, strict=True)] for of in zip(calls, ahead, strict=True)]
    assert got == [tile for call in read for tile in tiles_of(call, tokens)]
    assert len(logs["i"].items) == len(logs["begins"].items) == len(heads)


def test_heads_ahead_wait_for_no_verdict():
    dut = AwareQueries(**SHAPE)

    async def constants(ctx):
        ctx.set(dut.heads, 6)
        ctx.set(dut.tokens, 9)

    logs = simulate(
        dut,
        inputs={"begins": [1, 1, 0] * 2},
        outputs=["o"],
        cycles=400,
        pace={"i": 0},
        beside=[constants],
    )
    got = [from_bits(dut.o.payload.shape(), bits) for bits in logs["o"].items]
    assert got == tiles_of([1, 1, 0, 0, 0, 0], 9)


def test_errors():
    with pytest.raises(ValueError, match=r"^Block must be a multiple of size 4, not 6$"):
        AwareQueries(**SHAPE | {"block": 6})


def test_emits():
    emit(AwareQueries(**SHAPE), verilog=True)
