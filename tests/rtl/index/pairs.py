"""Heads for the source of pairs, as testbenches: pooled vectors in, codes of shares out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.rtl.component import Component, pass_over
from qkloom.rtl.formats import Integer
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.index.pairs import PairSource
from qkloom.rtl.index.vectors import VectorMemory
from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.stream import connect_stream
from qkloom.tb.index.code import encode
from qkloom.tb.index.pairs import pair_shares
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

__all__ = ["Call", "WithKeys", "bench_of", "codes_of", "draw", "numerics_of", "source_of"]


@dataclass(frozen=True, eq=False)
class Call:
    """A call: what it loads, and what is in the memories then."""

    queries: Any
    keys: Any
    mantissa: int = 100_000
    shift: int = 17
    loads_queries: bool = True
    loads_keys: bool = True
    plays: bool = True


def numerics_of(*, head_dim=8, blocks=9, block=4, fraction=8, width=8):
    """Return the numbers of a small unit."""
    lane = Numerics(
        size=1, head_dim=head_dim, tokens=blocks * block, fraction=fraction, p_width=8,
        stream_width=width, stationary_width=width,
    )  # fmt: skip
    return IndexNumerics(lane=lane, block=block, tokens=blocks * block)


class WithKeys(Component):
    """A source of pairs with a memory of keys, which a call may load before it is passed on."""

    def __init__(
        self,
        *,
        size,
        dot_width,
        head_dim,
        blocks,
        fraction,
        passes=3,
        width=8,
        pool_fraction=4,
        exp_fraction=28,
        value_width=32,
        code_fraction=11,
    ):
        pass_over(source := PairSource(**self.parameters))
        self.latency, self.overhead = source.latency, source.overhead
        self._memory = {
            "size": size,
            "width": dot_width,
            "head_dim": head_dim,
            "vectors": blocks,
            "element": Integer(width + pool_fraction),
        }
        call = data.StructLayout({"keys": 1, **source.call.payload.shape().members})
        super().__init__(
            {
                "call": In(stream.Signature(call)),
                "keys": In(stream.Signature(source.queries.payload.shape())),
                "queries": In(stream.Signature(source.queries.payload.shape())),
                "o": Out(stream.Signature(source.o.payload.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.source = source = PairSource(**self.parameters)
        m.submodules.memory = memory = VectorMemory(**self._memory)
        connect_stream(m, wiring.flipped(self.keys), memory.i)
        connect_stream(m, wiring.flipped(self.queries), source.queries)
        connect_stream(m, source.o, wiring.flipped(self.o))
        for name in source.call.payload.shape().members:
            m.d.comb += source.call.payload[name].eq(self.call.payload[name])
        m.d.comb += [memory.vector.eq(source.key_vector), source.key.eq(memory.o)]
        if "key_beat" in source.signature.members:
            m.d.comb += memory.beat.eq(source.key_beat)
        loads, is_loaded = self.call.payload["keys"], Signal()
        m.d.comb += [
            source.call.valid.eq(self.call.valid & (~loads | is_loaded)),
            self.call.ready.eq(source.call.ready & (~loads | is_loaded)),
        ]
        with m.If(self.call.valid & self.call.ready):
            m.d.sync += is_loaded.eq(0)
        with m.Elif(memory.done):
            m.d.sync += [memory.loads.eq(0), is_loaded.eq(1)]
        with m.Elif(self.call.valid & loads & source.call.ready & ~is_loaded):
            m.d.sync += memory.loads.eq(1)
        return m


def source_of(numerics, *, size=4, dot_width=4, passes=3):
    """Return the unit of these numbers, with a memory of keys."""
    return WithKeys(
        size=size,
        dot_width=dot_width,
        head_dim=numerics.lane.head_dim,
        blocks=numerics.blocks,
        fraction=numerics.lane.fraction,
        passes=passes,
        width=numerics.pooled_width - numerics.pool_fraction,
        pool_fraction=numerics.pool_fraction,
        exp_fraction=numerics.exp_fraction,
        value_width=numerics.value_width,
        code_fraction=numerics.code_fraction,
    )


def codes_of(call, numerics):
    """Return the codes of all causal pairs."""
    n = len(call.queries)
    shares = pair_shares(call.queries, call.keys[:n], call.mantissa, call.shift, numerics)
    return encode(shares[np.tril(np.ones((n, n), bool))], fraction=numerics.code_fraction)


def bench_of(unit, calls, numerics, stalls=None, **options):
    """Return the testbench of calls one after the other."""
    p, stalls = unit.parameters, stalls or {}

    def chunks(loaded):
        rows, lasts, dones = [], [], []
        for x in loaded:
            beats = np.asarray(x).reshape(-1, p["size"])
            per = x.shape[1] // p["size"]
            rows.append(beats)
            lasts.append(np.arange(len(beats)) % per == per - 1)
            dones.append(np.arange(len(beats)) == len(beats) - 1)
        if not rows:
            return np.zeros((0, 1), np.uint32)
        fields = zip(("x", "last", "done"), map(np.concatenate, (rows, lasts, dones)), strict=True)
        return pack(unit.keys.payload.shape(), **dict(fields))

    inputs = {
        "call": pack(
            unit.call.payload.shape(),
            keys=[x.loads_keys for x in calls],
            queries=[x.loads_queries for x in calls],
            plays=[x.plays for x in calls],
            mantissa=[x.mantissa for x in calls],
            shift=[x.shift for x in calls],
        ),
        "keys": chunks([x.keys for x in calls if x.loads_keys]),
        "queries": chunks([x.queries for x in calls if x.loads_queries]),
    }
    codes = [codes_of(x, numerics) for x in calls if x.plays]
    sweeps = [(x, np.arange(len(x)) == len(x) - 1) for x in codes for _ in range(p["passes"])]
    o = pack(
        unit.o.payload.shape(),
        code=np.concatenate([x for x, _ in sweeps]),
        always=0,
        last=np.concatenate([x for _, x in sweeps]),
    )
    return Testbench(
        {
            name: Stimulus(words, stalls.get(name, FREE))
            for name, words in inputs.items()
            if len(words)
        },
        {"o": Expectation(o, stalls.get("o", FREE))},
        max_cycles=2000 + 500 * len(calls) + 40 * sum(map(len, [*inputs.values(), o])),
        **options,
    )


def draw(rng, numerics, n, d, *, kind=None):
    """Return a head of ``n`` blocks and ``d`` elements: flat, peaked, or as low as it gets."""
    most = 1 << numerics.pooled_width - 1
    kind = kind or rng.choice(["any", "flat", "peaked", "lowest", "equal"])
    queries, keys = (rng.integers(-most, most, (n, d)) for _ in range(2))
    if kind == "flat":
        queries, keys = queries >> 5, keys >> 5
    elif kind == "peaked":
        keys[rng.integers(n)] = queries[-1]
    elif kind == "lowest":
        queries[:], keys[:] = -most, -most
    elif kind == "equal":
        keys[:] = keys[0]
    mantissa = int(rng.integers(1 << 16, 1 << 17))
    shift = int(rng.choice([0, 17, 63, *rng.integers(15, 30, 4)]))
    return Call(queries, keys, mantissa, shift)
