"""The coverage unit selects what its exact model does, head after head."""

import re
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component, pass_over
from qkloom.rtl.index.coverage import CoverageUnit
from qkloom.rtl.stream import connect_stream
from qkloom.tb.engines import run
from qkloom.tb.index.contexts import generate
from qkloom.tb.index.exact import CoverageRule, exact_coverage
from qkloom.tb.index.stream import CoverageCall, coverage_program
from qkloom.tb.quantize import quantize
from qkloom.tb.stalls import Stall
from qkloom.tb.tensors import default_tensors
from qkloom.tb.testbench import Stimulus, pack, unpack
from tests.emitted import emitted

SMALL = {
    "size": 8,
    "head_dim": 32,
    "block": 16,
    "tokens": 512,
    "lane_tokens": 512,
    "p_width": 14,
    "segments": 8,
    "fraction": 10,
    "heads": 8,
    "key_heads": 3,
    "dot_width": 32,
}
INPUTS = ("call", "ask", "i_mass", "i_key", "i_query")


class InCalls(Component):
    """A coverage unit that gets keys and queries of a call when it has taken it, as in a kernel.

    Rows have ``of``: the number of their call.
    """

    rows = ("i_key", "i_query")

    def __init__(self, *, unit):
        pass_over(unit := CoverageUnit(**dict(unit)))
        members = dict(unit.signature.members)
        del members["busy"]
        for name in self.rows:
            row = getattr(unit, name).payload.shape().members
            members[name] = In(stream.Signature(data.StructLayout({**row, "of": 8})))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = CoverageUnit(**dict(self.parameters["unit"]))
        for name in self.signature.members:
            port, inner = getattr(self, name), getattr(unit, name)
            if name not in self.rows:
                ends = (wiring.flipped(port), inner)
                connect_stream(m, *(ends if name in INPUTS else reversed(ends)))
        call = Signal(8, init=-1)
        with m.If(unit.call.valid & unit.call.ready):
            m.d.sync += call.eq(call + 1)
        for name in self.rows:
            outer, inner = getattr(self, name), getattr(unit, name)
            is_open = outer.payload.of == call
            for field in inner.payload.shape().members:
                m.d.comb += inner.payload[field].eq(outer.payload[field])
            m.d.comb += [
                inner.valid.eq(outer.valid & is_open),
                outer.ready.eq(inner.ready & is_open),
            ]
        return m


def _n_rows(unit, call, round_heads):
    """Return how many chunks of keys, and of queries, a call has."""
    k, size = call.operands.k, unit.parameters["size"]
    group = len(call.operands.q) // len(k)
    rounds = call.rounds(round_heads or group * unit.parameters["key_heads"])
    per_head = -(-k.shape[1] // size) * k.shape[2]
    ahead = {head for heads, _ in rounds for head in heads[: unit.parameters["heads_ahead"]]}
    aware = {number for number, head in enumerate(call.heads) if head.verdict.is_aware}
    return sum(len(of) for _, of in rounds) * per_head, len(ahead | aware) * per_head


def call_of(q, k, rule, unit):
    """Return a call with the model's heads."""
    operands = quantize(q, k, k, unit.numerics.lane)
    heads = exact_coverage(
        operands.q, operands.k, operands.mantissa, operands.shift, unit.numerics, rule
    )
    return CoverageCall(operands, heads, rule)


def check_calls(calls, *, stall=0.0, round_heads=None, slow=(), **changes):
    """Run calls, given as (q, k, rule); everything must be the model's. Return verdicts, result."""
    parameters = SMALL | changes
    pass_over(unit := CoverageUnit(**parameters))
    calls = [call_of(*call, unit) for call in calls]
    testbench = coverage_program(
        unit, calls, max_cycles=400_000, round_heads=round_heads, stall=Stall(stall, seed=3)
    )
    dut = InCalls(unit=tuple(parameters.items()))
    rows = [_n_rows(unit, call, round_heads) for call in calls]
    inputs = dict(testbench.inputs)
    for name, counts in zip(dut.rows, zip(*rows, strict=True), strict=True):
        fields = unpack(getattr(unit, name).payload.shape(), inputs[name].values)
        fields["of"] = np.repeat(np.arange(len(calls)), counts)
        port = getattr(dut, name).payload.shape()
        inputs[name] = Stimulus(pack(port, **fields), inputs[name].stall)
    for name, other in slow:
        inputs[name] = replace(inputs[name], stall=other)
    result = run(emitted(dut), replace(testbench, inputs=inputs))
    verdicts = [head.verdict for call in calls for head in call.heads]
    kinds = [x for v in verdicts for x in (v.columns, v.diagonals, v.pairs) if x]
    found = {
        name: unpack(getattr(unit, name).payload.shape(), result.outputs[name])
        for name in testbench.outputs
    }
    assert found["o_verdict"]["is_aware"].tolist() == [int(v.is_aware) for v in verdicts]
    assert found["o_verdict"]["divergence"].tolist() == [v.divergence for v in verdicts]
    assert found["o_verdict"]["blocks"].tolist() == [len(v.mask) for v in verdicts]
    words = iter(found["masks"]["mask"].tolist())
    lists = iter(zip(found["lists"]["block"].tolist(), found["lists"]["end"].tolist(), strict=True))
    for verdict in verdicts:
        n = len(verdict.mask)
        for row in verdict.mask:
            bits = sum(next(words) << 32 * k for k in range(-(-n // 32)))
            assert [bits >> k & 1 for k in range(n)] == row.astype(int).tolist()
            listed = list(takewhile(lambda item: not item[1], lists))
            assert [block for block, _ in listed] == np.flatnonzero(row).tolist()
    assert found["o_result"]["count"].tolist() == [kind.count for kind in kinds]
    return verdicts, result


def check(q, k, rule, **options):
    """Run a call of heads, see above."""
    return check_calls([(q, k, rule)], **options)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_real_tensors(stall):
    tensors = default_tensors()
    q, k = np.asarray(tensors.q)[:4], np.asarray(tensors.k)[:4]
    verdicts, _ = check(q, k, CoverageRule(min_budget=32), stall=stall)
    assert {v.is_aware for v in verdicts} == {False, True}


@pytest.mark.parametrize(
    ("family", "round_heads"), [("sinks", None), ("needles", 2), ("mixed", 1), ("flat", 4)]
)
def test_groups_of_planted_contexts(family, round_heads):
    # A group's heads use the same keys, which come once or several times.
    context = generate(family, 450, heads=8, kv_heads=2, head_dim=64, seed=1, block=16)
    check(
        context.q,
        context.k,
        CoverageRule(min_budget=0),
        round_heads=round_heads,
        head_dim=64,
        dot_width=16,
        size=16,
        key_heads=1,
    )


def calls_of(rng, lengths, *, heads=3, kv_heads=3, taus=(0.3,)):
    for number, tokens in enumerate(lengths):
        q, k = rng.normal(size=(heads, tokens, 32)), rng.normal(size=(kv_heads, tokens, 32))
        tau = taus[number % len(taus)]
        yield q, k, CoverageRule(gamma=0.7, tau=tau, min_budget=0)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(
    ("kv_heads", "round_heads", "heads_ahead"),
    [(6, None, 0), (6, None, 2), (3, 3, 2), (2, 2, 2), (6, 1, 0), (6, 1, 2)],
)
def test_calls_of_any_length(stall, kv_heads, round_heads, heads_ahead):
    """With none, some and all heads query-aware."""
    calls = calls_of(
        np.random.default_rng(kv_heads),
        [1, 8, 15, 16, 17, 100, 511, 9],
        heads=6,
        kv_heads=kv_heads,
        taus=(0.3, 0, 1, 0.1, 0.15),
    )
    check_calls(list(calls), stall=stall, round_heads=round_heads, heads_ahead=heads_ahead)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_only_the_last_head_of_a_round_is_query_aware(stall):
    tokens, rng = 200, np.random.default_rng(5)
    q, k = rng.normal(size=(2, 6, tokens, 32))
    for head in (2, 5):
        k[head] = 0  # only the last block differs from what averages foretell
    verdicts, _ = check(q, 3 * k, CoverageRule(gamma=0.7, tau=0.125, min_budget=0), stall=stall)
    assert [v.is_aware for v in verdicts] == [False, False, True, False, False, True]


def test_two_rounds_of_keys_come_before_the_first_head_is_asked_for():
    calls = list(calls_of(np.random.default_rng(6), [150], heads=6, kv_heads=6, taus=(1,)))
    late = Stall(0.5, burst=5000, seed=11)
    _, result = check_calls(calls, slow=[("ask", late)], round_heads=2)
    keys = result.transfers["i_key"]
    assert keys[len(keys) * 2 // 3 - 1] < 5000 <= result.transfers["ask"][0] < keys[-1]


def test_a_head_waits_for_its_keys():
    calls = list(calls_of(np.random.default_rng(7), [150], heads=4, kv_heads=4, taus=(1, 0)))
    late = Stall(0.5, burst=5000, seed=19)
    _, result = check_calls(calls, slow=[("i_key", late)])
    assert result.transfers["i_query"][0] < 5000 <= result.transfers["i_key"][0]


@pytest.mark.parametrize("tau", [0, 0.125, 1])
def test_queries_ahead_are_there_before_the_masses(tau):
    """Whether they will be wanted or not; those of one head more wait in front of the unit."""
    calls = list(calls_of(np.random.default_rng(8), [150], heads=6, kv_heads=6, taus=(tau,)))
    late = Stall(0.5, burst=9000, seed=11)
    _, result = check_calls(calls, slow=[("i_mass", late)], heads_ahead=2, round_heads=3)
    queries = result.transfers["i_query"]
    two_heads = 2 * -(-150 // 8) * 32
    assert queries[two_heads - 1] < result.transfers["i_mass"][0]


@pytest.mark.parametrize("tau", [0, 1])
@pytest.mark.parametrize("tokens", [17, 100])
def test_a_call_does_not_end_before_its_queries(tau, tokens):
    """Not even what a last tile has beyond the tokens; one head, which nobody else holds up."""
    calls = calls_of(np.random.default_rng(9), [tokens], heads=1, kv_heads=1, taus=(tau,))
    late = Stall(0.5, burst=9000, seed=11)
    _, result = check_calls(list(calls), slow=[("i_query", late)], heads_ahead=2)
    queries = result.transfers["i_query"]
    assert len(queries) == -(-tokens // 8) * 32
    assert queries[0] >= 9000
    assert queries[-1] < result.transfers["o_result"][-1]


def test_with_gamma_1_every_block_is_selected():
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 2, 200, 32))
    verdicts, _ = check(q, k, CoverageRule(gamma=1))
    assert all((v.mask == np.tril(np.ones(v.mask.shape, bool))).all() for v in verdicts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 12}, "Block must be a power of two from 2 to 128, not 12"),
        ({"tokens": 0}, "Tokens must be a positive integer, not 0"),
        ({"heads": 0}, "Heads must be a positive integer, not 0"),
        ({"heads_ahead": -1}, "Heads ahead must be a positive integer, not -1"),
        ({"key_heads": 0}, "KV heads must be a positive integer, not 0"),
        ({"dot_width": 12}, "Head dimension must be a multiple of the width, 12, not 32"),
        ({"p_width": 3}, "P_width must be 7 to 16 when stream_width is 8, not 3"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        emit(CoverageUnit(**(SMALL | changes)))


def test_it_converts():
    emit(CoverageUnit(**SMALL))
