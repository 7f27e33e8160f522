"""All queries of query-aware heads are asked for, and no others."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.queries import AwareQueries
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"n_lanes": 3, "heads": 6, "tokens": 100, "size": 4, "block": 8}


def tiles_of(aware, tokens):
    """Return the tiles of all heads that are query-aware."""
    blocks = -(-tokens // 8)
    return [
        {
            "to": 0,
            "index": head * blocks + first // 8,
            "tile": first % 8 // 4,
            "tokens": min(4, tokens - first),
        }
        for head, is_aware in enumerate(aware)
        if is_aware
        for first in range(0, tokens, 4)
    ]


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 8, 9, 37, 100])
@pytest.mark.parametrize("pace", [1, 0.4])
def test_calls_one_behind_the_other(tokens, pace):
    rng = random.Random(tokens)
    calls = [[rng.randrange(2) for _ in range(6)] for _ in range(4)]
    dut = AwareQueries(**SHAPE)

    async def constants(ctx):
        ctx.set(dut.heads, 6)
        ctx.set(dut.tokens, tokens)

    heads = [{"blocks": -(-tokens // 8), "is_aware": x} for call in calls for x in call]
    logs = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), head) for head in heads]},
        outputs=["o"],
        cycles=20_000,
        idle=100,
        pace={"i": pace, "o": pace},
        beside=[constants],
    )
    got = [from_bits(dut.o.payload.shape(), bits) for bits in logs["o"].items]
    assert got == [tile for call in calls for tile in tiles_of(call, tokens)]
    assert len(logs["i"].items) == len(heads)


def test_errors():
    with pytest.raises(ValueError, match=r"^Block must be a multiple of size 4, not 6$"):
        AwareQueries(**SHAPE | {"block": 6})


def test_emits():
    emit(AwareQueries(**SHAPE), verilog=True)
