"""A lane that scores a head's last queries says where they attend, bit for bit as its model."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.masses import BlockMasses
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.lane.lane import Lane
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb import engines
from qkloom.tb.buffer.tile import strip_rows
from qkloom.tb.exact import exact_attention
from qkloom.tb.index.masses import block_masses
from qkloom.tb.simulate import from_bits, simulate, to_bits
from qkloom.tb.testbench import Expectation, Stall, Stimulus, Testbench
from tests.emitted import emitted

SMALL = {
    "size": 4,
    "block_rows": 8,
    "head_dim": 8,
    "tokens": 128,
    "p_width": 14,
    "segments": 8,
    "fraction": 8,
    "row_width": 2,
    "out_width": 2,
    "index_tokens": 100,
}


class Script:
    """Heads, one after the other: what a lane is sent for their last queries, and its answer."""

    def __init__(self, *, seed=1, **changes):
        self.parameters = SMALL | changes
        self.size, self.block = self.parameters["size"], self.parameters["block_rows"]
        names = set(self.parameters) - {
            "block_rows", "row_width", "out_width", "slots", "index_tokens", "gemm", "matrix",
        }  # fmt: skip
        self.lane = Numerics(**{name: self.parameters[name] for name in names})
        self.numerics = IndexNumerics(
            lane=self.lane, block=self.block, tokens=self.parameters["index_tokens"]
        )
        self.rng = np.random.default_rng(seed)
        self.sent = {"i_job": [], "i_query": [], "i_key": []}
        self.masses = []
        self.n_heads = 0

    def add(self, tokens, *, head_dim=None, q=None, k=None, spread=2):
        """Add a head of random tensors, or of these."""
        head_dim = head_dim or self.parameters["head_dim"]
        if q is None:
            q, k = (
                self.rng.integers(-limit, limit + 1, (tokens, head_dim)).astype(np.int8)
                for limit in (
                    (1 << width - 1) - 1
                    for width in (self.lane.stream_width, self.lane.stationary_width)
                )
            )
            k >>= self.rng.integers(0, 5, (tokens, 1)).astype(np.int8)  # some rows peak
        mantissa = int(self.rng.integers(1 << 16, 1 << 17))
        shift = int(self.rng.integers(13, 13 + spread)) - self.lane.fraction
        shift += self.lane.stream_width + self.lane.stationary_width
        expected = block_masses(q, k, mantissa, shift, self.numerics)
        n = len(expected.vertical)
        self.masses += [
            {
                "vertical": int(expected.vertical[b]),
                "slash": int(expected.slash[n - 1 - b]),
                "mean": int(expected.mean[b]),
                "last": int(b == n - 1),
            }
            for b in range(n)
        ]
        rows = min(self.block, tokens)
        self.sent["i_query"] += q[-rows:].reshape(-1, self.size).tolist()
        for start in range(0, tokens, self.block):
            keys = min(self.block, tokens - start)
            job = {
                "first": start == 0,
                "last": start + keys == tokens,
                "slot": self.n_heads % self.parameters.get("slots", 2),
                "rows": rows,
                "d_tiles": head_dim // self.size,
                "causal": 1,
                "diagonal": tokens - rows - start,
                "mantissa": mantissa,
                "shift": shift,
                "keys": keys,
                "scores_only": 1,
            }
            if self.parameters.get("gemm"):
                job |= {"gemm": 0, "out_slot": 0}
            self.sent["i_job"].append(job)
            # What does not exist may be anything: the last tile is filled with noise.
            shape = -(-keys // self.size) * self.size, head_dim
            filled = self.rng.integers(-128, 128, shape)
            filled[:keys] = k[start : start + keys]
            self.sent["i_key"] += strip_rows(filled, size=self.size)
        self.n_heads += 1
        return self


def check(script, *, stalled=0.0, seed=0, engine="cxxrtl"):
    """Run a script; every mass must be the model's, and none more."""
    lane = Lane(**script.parameters)

    def payloads(name, items):
        shape = getattr(lane, name).payload.shape()
        return np.array([to_bits(shape, item) for item in items], object)

    inputs = {
        name: Stimulus(payloads(name, items), Stall(stalled, seed=seed + number))
        for number, (name, items) in enumerate(script.sent.items())
    }
    masses = Expectation(payloads("o_mass", script.masses), Stall(stalled, seed=seed + 9))
    bench = Testbench(inputs, {"o_mass": masses}, max_cycles=100_000, quiet_cycles=400)
    return engines.check(emitted(lane), bench, engine)


@pytest.fixture(autouse=True)
def _needs(require):
    require("compiler")


@pytest.mark.parametrize("tokens", [1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 40, 43, 64, 97, 100])
def test_a_head_of_any_length(tokens):
    check(Script(seed=tokens).add(tokens))


@pytest.mark.parametrize("seed", range(3))
def test_heads_in_a_row_under_stalls(seed):
    script = Script(seed=seed).add(19).add(5, head_dim=4).add(40).add(8).add(33)
    result = check(script, stalled=0.6, seed=seed)
    for name, items in script.sent.items():
        assert len(result.transfers[name]) == len(items)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 8, "block_rows": 8, "row_width": 8},
        {"size": 8, "block_rows": 16, "row_width": 4, "slots": 3},
        {"p_width": 8, "fraction": 10},
        {"p_width": 7},
        {"p_width": 16, "gemm": True, "size": 8, "row_width": 4},
        {"stream_width": 4, "stationary_width": 4, "p_width": 8},
    ],
)
def test_lanes_of_any_kind(changes):
    check(Script(seed=5, **changes).add(37).add(24), engine="pysim")


def test_a_row_that_peaks_early_and_one_that_peaks_late():
    rng = np.random.default_rng(2)
    q, k = rng.integers(-3, 4, (2, 64, 8)).astype(np.int8)
    k[3] = k[60] = 100  # maxima jump: what was before shrinks to nothing
    q[57:] = 90
    q[59] = -90
    check(Script().add(64, q=q, k=k))


@pytest.mark.parametrize("value", [-128, 0, 127])
def test_scores_all_equal(value):
    q = np.full((30, 8), value, np.int8)
    check(Script().add(30, q=q, k=q))


@pytest.mark.parametrize("scores_first", [True, False])
@pytest.mark.parametrize("gemm", [False, True])
def test_attention_before_and_behind(scores_first, gemm):
    rng = np.random.default_rng(9)
    script = Script(gemm=gemm, row_width=2, out_width=1)
    for tokens in (4, 9, 8, 30):  # rows that would spoil the count of those that wait
        script.add(tokens)
    q, k, v = rng.integers(-127, 128, (3, 1, 11, 8)).astype(np.int8)
    mantissa, shift = np.array([70000]), np.array([21])
    expected = exact_attention(q, k, v, mantissa, shift, script.lane, block_rows=8, causal=True)
    attention = {name: [] for name in ("i_job", "i_query", "i_key", "i_value")}
    for first in (0, 8):
        rows = min(8, 11 - first)
        attention["i_query"] += q[0, first : first + rows].reshape(-1, 4).tolist()
        for start in range(0, first + rows, 8):
            keys = min(8, first + rows - start)
            job = {**script.sent["i_job"][0], "scores_only": 0, "rows": rows, "keys": keys}
            job |= {"first": start == 0, "last": start == first, "slot": first // 8}
            job |= {"diagonal": first - start, "mantissa": 70000, "shift": 21}
            attention["i_job"].append(job)
            for name, x in (("i_key", k), ("i_value", v)):
                filled = np.zeros((-(-keys // 4) * 4, 8), int)
                filled[:keys] = x[0, start : start + keys]
                attention[name] += strip_rows(filled, size=4)
    calls = [{**script.sent, "i_value": []}, attention]
    calls = calls if scores_first else calls[::-1]

    def run(calls, pace):
        lane = Lane(**script.parameters)
        return lane, simulate(
            lane,
            inputs={
                name: [
                    to_bits(getattr(lane, name).payload.shape(), item)
                    for call in calls
                    for item in call[name]
                ]
                for name in attention
            },
            outputs=["o", "o_mass"],
            cycles=20_000,
            idle=600,
            pace=pace,
        )

    # Jobs of the second call come when everything of the first one has left.
    _, log = run(calls[:1], None)
    taken = log["i_job"].cycles[-1]
    left = max(log[name].cycles[-1] for name in ("o", "o_mass") if log[name].cycles)
    lane, log = run(calls, {"i_job": lambda cycle: float(cycle <= taken or cycle > left + 4)})
    masses = [from_bits(lane.o_mass.payload.shape(), item) for item in log["o_mass"].items]
    assert masses == script.masses
    out = [from_bits(lane.o.payload.shape(), item)["row"] for item in log["o"].items]
    assert np.array(out).reshape(expected.shape).tolist() == expected.tolist()


def test_scores_all_at_minus_full_scale():
    script = Script()
    q, k = np.full((30, 8), 127, np.int8), np.full((30, 8), -128, np.int8)
    check(script.add(30, q=q, k=k))


def test_a_block_takes_a_quarter_of_its_rows_or_a_division():
    script = Script(size=8, block_rows=64, tokens=512, index_tokens=512, row_width=8).add(512)
    cycles = np.diff(check(script).transfers["o_mass"].astype(int))
    assert cycles.max() <= 36


PARAMETERS = {
    "size": 4,
    "block": 8,
    "tokens": 64,
    "row_width": 2,
    "slots": 2,
    "head_dim": 8,
    "lane_tokens": 128,
    "p_width": 14,
    "segments": 8,
    "fraction": 8,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 12}, "Block must be a power of two and a multiple of 4, not 12"),
        ({"block": 256}, "Block must be at most 128, not 256"),
        ({"tokens": 0}, "Tokens must be a positive integer, not 0"),
        ({"slots": 0}, "Slots must be a positive integer, not 0"),
        ({"p_width": 6}, "P_width must be 7 to 16 when stream_width is 8, not 6"),
    ],
)
def test_parameters_out_of_range(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BlockMasses(**(PARAMETERS | changes))


def test_it_converts():
    emit(BlockMasses(**PARAMETERS))
