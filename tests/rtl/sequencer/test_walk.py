"""Dealer and walker against the schedule in NumPy that streams have been made from so far."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.sequencer.attention import AttentionWalker
from qkloom.rtl.sequencer.deal import Dealer
from qkloom.rtl.stream import connect_stream
from qkloom.tb.deal import Call, diagonal, schedule
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"slots": 2, "heads": 8, "tokens": 100, "head_dim": 32, "size": 4, "block": 8}
STREAMS = ("jobs", "rows", "places", "tiles")


class DealAndWalk(Component):
    """Both in a row; a head's factor is its number, and its shift follows from that."""

    def __init__(self, *, walker, streams, shape, gemm=False):
        self._walker, self._streams, self._gemm = walker, streams, gemm
        self._shape = dict(shape)
        theirs = walker(**self._shape).signature.members
        dealer = Dealer(**self._shape, gemm=gemm).signature.members
        super().__init__({"i": dealer["i"], **{name: theirs[name] for name in streams}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dealer = dealer = Dealer(**self._shape, gemm=self._gemm)
        m.submodules.walker = walker = self._walker(**self._shape)
        dealt = Signal()  # the walker looks at the call until it is done
        m.d.comb += [
            dealer.i.payload.eq(self.i.payload),
            dealer.i.valid.eq(self.i.valid & ~dealt),
            self.i.ready.eq(dealt & ~walker.busy),
            walker.call.eq(self.i.payload),
            walker.i.payload.entry.eq(dealer.o.payload),
            walker.i.payload.mantissa.eq(dealer.o.payload.head),
            walker.i.payload.shift.eq((dealer.o.payload.head * 21)[:6]),
            walker.i.valid.eq(dealer.o.valid),
            dealer.o.ready.eq(walker.i.ready),
        ]
        if self._gemm:
            m.d.comb += walker.q_blocks.eq(dealer.q_blocks)
            m.d.comb += walker.kv_blocks.eq(dealer.kv_blocks)
        with m.If(dealer.i.valid & dealer.i.ready):
            m.d.sync += dealt.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += dealt.eq(0)
        for name in self._streams:
            connect_stream(m, getattr(walker, name), wiring.flipped(getattr(self, name)))
        return m


def shift_of(head):
    return 21 * head % 64


def random_call(rng):
    kv_heads = rng.choice([1, 2, 3, 8])
    group = rng.choice([1, min(2, 8 // kv_heads), 8 // kv_heads])
    causal = rng.randrange(2)
    return {
        "kv_heads": kv_heads,
        "group": group,
        "n_q": rng.choice([1, 7, 8, 9, 16, rng.randint(1, 40)]),
        "n_kv": rng.choice([1, 7, 8, 9, 10, 18, rng.randint(1, 100)]),
        "q_start": rng.choice([0, rng.randint(-20, -1), rng.randint(0, 80)]) if causal else 0,
        "causal": causal,
        "d_tiles": rng.randint(1, 8),
        "planes": rng.randint(2, 8),
    }


def random_mask(rng, call):
    """Return a selection of a call: of any kind, or none."""
    heads = call["kv_heads"] * call["group"]
    blocks = [-(-call[name] // SHAPE["block"]) for name in ("n_q", "n_kv")]
    draw = np.random.default_rng(rng.getrandbits(32))
    kind = rng.randrange(6)
    if kind == 0:
        return None
    if kind == 1:
        return np.ones((heads, *blocks), bool)
    if kind == 2:
        return np.zeros((heads, *blocks), bool)
    if kind == 3:  # the sink alone
        return np.broadcast_to(np.arange(blocks[1]) == 0, (heads, *blocks))
    if kind == 4:  # the diagonal alone, of some heads
        seen = np.arange(blocks[0])[:, None] + (blocks[1] - blocks[0]) == np.arange(blocks[1])
        return seen & (draw.random((heads, 1, 1)) < 0.7)
    return draw.random((heads, *blocks)) < draw.choice([0.1, 0.5, 0.9])


def random_index_call(rng, **more):
    """Return an index call: its queries are the last ones, up to a block of them."""
    call = random_call(rng) | {"causal": 1, **more}
    n_q = min(call["n_kv"], rng.choice([1, SHAPE["block"]]))
    return call | {"n_q": n_q, "q_start": call["n_kv"] - n_q}


def described(call, mask=None):
    """Return a call as models have it, on tensors of zeros."""
    heads = call["kv_heads"] * call["group"]
    tensors = {
        "q": np.zeros((heads, call["n_q"], 4), np.int8),
        "k": np.zeros((call["kv_heads"], call["n_kv"], 4), np.int8),
    }
    return Call(
        **tensors,
        v=tensors["k"],
        mantissa=np.zeros(heads),
        shift=np.zeros(heads),
        causal=bool(call["causal"]),
        q_start=call["q_start"],
        block_mask=mask,
    )


def job_of(call, of, entry, first):
    """Return the job of a query block and the KV block from a key on."""
    block = SHAPE["block"]
    return {
        "first": int(first == entry.blocks[0] * block),
        "last": int(first + block >= entry.keys),
        "slot": entry.slot,
        "rows": entry.rows,
        "d_tiles": call["d_tiles"],
        "causal": int(call["causal"] or entry.hidden),
        "diagonal": diagonal(of, entry, first, min(block, SHAPE["tokens"])),
        "mantissa": entry.head,
        "shift": shift_of(entry.head),
        "keys": min(block, entry.keys - first),
    }


def expected(call, n_lanes, mask=None, key_heads=0):
    """Return jobs, query blocks and tiles of a call, in order."""
    of = described(call, mask)
    block, size = SHAPE["block"], SHAPE["size"]
    q_blocks, kv_blocks = -(-call["n_q"] // block), -(-call["n_kv"] // block)
    jobs, blocks, tiles = [], [], []
    key_heads *= call.get("selects", 0)
    for lanes in schedule(of, lanes=n_lanes, slots=2, block_rows=block, key_heads=key_heads):
        longest = max(entry.keys for entry in lanes)
        for first in range(0, longest, block):
            for entry in lanes:
                if first == entry.blocks[0] * block:
                    index = entry.head * q_blocks + entry.first // block
                    blocks.append(
                        {"to": entry.lane, "index": index, "tile": 0, "tokens": entry.rows}
                    )
                if entry.needs(first, block):
                    jobs.append({"to": entry.lane, "item": job_of(call, of, entry, first)})
            for tile in range(first, min(first + block, longest), size):
                runs = {}
                for entry in lanes:
                    if entry.needs(tile, block):
                        head = entry.head // call["group"]
                        runs[head] = runs.get(head, 0) | 1 << entry.lane
                tiles += [
                    {
                        "to": mask,
                        "index": head * kv_blocks + first // block,
                        "tile": (tile - first) // size,
                        "tokens": min(size, call["n_kv"] - tile),
                    }
                    for head, mask in runs.items()
                ]
    return {"jobs": jobs, "rows": blocks, "places": blocks, "tiles": tiles}


@pytest.mark.parametrize(("n_lanes", "pace"), [(1, 1.0), (2, 0.5), (3, 1.0), (5, 0.3)])
def test_is_the_schedule(n_lanes, pace):
    rng = random.Random(n_lanes)
    calls = [random_call(rng) for _ in range(8)]
    shape = (*SHAPE.items(), ("n_lanes", n_lanes))
    dut = DealAndWalk(walker=AttentionWalker, streams=STREAMS, shape=shape)
    layout = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(layout, call) for call in calls]},
        outputs=STREAMS,
        cycles=200_000,
        idle=200,
        pace=dict.fromkeys(STREAMS, pace),
        seed=n_lanes,
    )
    wanted = [expected(call, n_lanes) for call in calls]
    for name in STREAMS:
        shape = getattr(dut, name).payload.shape()
        got = [from_bits(shape, bits) for bits in log[name].items]
        assert got == [item for call in wanted for item in call[name]]


def test_emits():
    emit(Dealer(**SHAPE, n_lanes=12), verilog=True)
    emit(AttentionWalker(**SHAPE, n_lanes=12, runtime_precision=True), verilog=True)
