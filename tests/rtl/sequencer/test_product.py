"""Dealer and walker of products against the schedule in NumPy."""

import random

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.sequencer.product import ProductWalker
from qkloom.tb.gemm import Product, schedule
from qkloom.tb.simulate import from_bits, simulate, to_bits

from .test_walk import DealAndWalk, shift_of

SHAPE = {"slots": 2, "heads": 12, "tokens": 100, "head_dim": 8, "size": 4, "block": 8}
STREAMS = ("jobs", "rows", "places", "tiles")


def random_call(rng, most_tiles=2):
    d_tiles = rng.randint(1, most_tiles)
    # No more channels than tokens, no more groups than heads.
    group = rng.choice([n for n in (1, 2, 3, 12) if 4 * d_tiles * n <= 100])
    sets = rng.randint(1, min(12 // group, 100 // (4 * d_tiles * group)))
    return {
        "kv_heads": sets,
        "group": group,
        "n_q": rng.choice([1, 7, 8, 9, 16, rng.randint(1, 100)]),
        "n_kv": sets * group * d_tiles * 4,
        "q_start": 0,
        "causal": 0,
        "d_tiles": d_tiles,
        "planes": 8,
        "gemm": 1,
        "chunks": rng.randint(1, 4),
    }


def expected(call, n_lanes, turn):
    """Return what is asked for, in order, and the slot of activations that comes next."""
    block, size, d_tiles = SHAPE["block"], SHAPE["size"], call["d_tiles"]
    head_dim, groups = d_tiles * size, call["kv_heads"] * call["group"]
    q_blocks, kv_blocks = -(-call["n_q"] // block), -(-call["n_kv"] // block)
    product = Product(
        np.zeros((call["n_q"], call["chunks"] * head_dim), np.int8),
        np.zeros((call["n_kv"], call["chunks"] * head_dim), np.int8),
        np.zeros(groups),
        np.zeros(groups),
        head_dim=head_dim,
        side=call["group"],
    )
    asked = {name: [] for name in STREAMS}
    for parts in schedule(product, lanes=n_lanes, slots=2, block_rows=block):
        for chunk in range(call["chunks"]):
            for part in parts:
                item = {
                    "first": int(chunk == 0),
                    "last": int(chunk == call["chunks"] - 1),
                    "slot": turn % 2,
                    "rows": part.rows,
                    "d_tiles": d_tiles,
                    "causal": 0,
                    "diagonal": 0,
                    "mantissa": part.group,
                    "shift": shift_of(part.group),
                    "keys": head_dim,
                    "gemm": 1,
                    "out_slot": part.slot,
                }
                asked["jobs"].append({"to": part.lane, "item": item})
                if chunk == 0:
                    index = part.group * q_blocks + part.first // block
                    place = {"to": part.lane, "index": index, "tile": 0, "tokens": part.rows}
                    asked["places"].append(place)
            turn += 1
            for first in dict.fromkeys(part.first for part in parts):
                lanes = [part for part in parts if part.first == first]
                asked["rows"].append(
                    {
                        "to": sum(1 << part.lane for part in lanes),
                        "index": chunk * q_blocks + first // block,
                        "tile": 0,
                        "tokens": lanes[0].rows,
                    }
                )
            for tile in range(d_tiles):
                for group in dict.fromkeys(part.group for part in parts):
                    number = group * d_tiles + tile
                    asked["tiles"].append(
                        {
                            "to": sum(1 << part.lane for part in parts if part.group == group),
                            "index": chunk * kv_blocks + number * size // block,
                            "tile": number % (block // size),
                            "tokens": size,
                        }
                    )
    return asked, turn


@pytest.mark.parametrize(("n_lanes", "pace"), [(1, 1.0), (2, 0.5), (3, 1.0), (5, 0.3)])
def test_is_the_schedule(n_lanes, pace):
    rng = random.Random(n_lanes)
    calls = [random_call(rng) for _ in range(6)]
    shape = (*SHAPE.items(), ("n_lanes", n_lanes))
    dut = DealAndWalk(walker=ProductWalker, streams=STREAMS, shape=shape, gemm=True)
    layout = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(layout, call) for call in calls]},
        outputs=STREAMS,
        pace=dict.fromkeys(STREAMS, pace),
        cycles=60_000,
        idle=300,
    )
    turn = 0
    wanted = {name: [] for name in STREAMS}
    for call in calls:
        asked, turn = expected(call, n_lanes, turn)
        for name in STREAMS:
            wanted[name] += asked[name]
    for name in STREAMS:
        shape = getattr(dut, name).payload.shape()
        assert [from_bits(shape, bits) for bits in log[name].items] == wanted[name], name


def test_is_convertible():
    emit(ProductWalker(n_lanes=3, **SHAPE))


def test_blocks_are_powers_of_two_of_tiles():
    with pytest.raises(ValueError, match=r"^Block must be a power of two of size 4, not 12$"):
        ProductWalker(n_lanes=3, **SHAPE | {"block": 12})
