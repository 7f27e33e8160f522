"""A lane computes attention with the bits of its exact model, whatever stalls."""

import re

import numpy as np
import pytest
from amaranth.hdl import Elaboratable

from qkloom.gen.emit import emit
from qkloom.rtl.formats import Integer
from qkloom.rtl.lane.lane import Lane, lane_kind, lane_payloads
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.buffer.tile import strip_rows
from qkloom.tb.exact import exact_attention
from qkloom.tb.simulate import from_bits, simulate, to_bits

SMALL = {
    "size": 4,
    "block_rows": 8,
    "head_dim": 8,
    "tokens": 64,
    "p_width": 14,
    "segments": 8,
    "fraction": 8,
    "row_width": 2,
    "out_width": 2,
}
INNER = [
    f"units__{name}"
    for name in (
        "expander__o",
        "scheduler__passes",
        "scheduler__steps",
        "to_loader__i",
        "to_feeder__i",
        "loader__i",
        "loader__tile",
        "feeder__i",
        "feeder__o",
        "loads__i",
        "queries__load",
        "row_unit__step",
        "normalizer__i",
    )
]
"""Streams within a lane; the same rules hold for them."""
STALLS = dict.fromkeys(("i_job", "i_query", "i_key", "i_value", "o"), 0.6)


class Script:
    """Calls of attention, one after the other: what a lane is sent, and what it must answer."""

    def __init__(self, *, seed=1, **changes):
        self.parameters = SMALL | changes
        self.size, self.block = self.parameters["size"], self.parameters["block_rows"]
        names = set(self.parameters) - {"block_rows", "row_width", "out_width", "slots"}
        self.numerics = Numerics(**{name: self.parameters[name] for name in names})
        self.streaming = Integer(self.numerics.stream_width)
        self.stationary = Integer(self.numerics.stationary_width)
        self.rng = np.random.default_rng(seed)
        self.sent = {"i_job": [], "i_query": [], "i_key": [], "i_value": []}
        self.beats = []
        self.n_blocks = 0

    def integers(self, operand, shape):
        return self.rng.integers(operand.min_raw, operand.max_raw + 1, shape).astype(np.int8)

    def add(self, n_q, n_kv, *, heads=1, head_dim=None, causal=False, q_start=0):
        head_dim = head_dim or self.parameters["head_dim"]
        q = self.integers(self.streaming, (heads, n_q, head_dim))
        k, v = self.integers(self.stationary, (2, heads, n_kv, head_dim))
        k >>= self.rng.integers(0, 4, (*k.shape[:2], 1)).astype(np.int8)  # some rows peak
        # One standard deviation of a base-2 score is about 0.5 to 4.
        mantissa = self.rng.integers(1 << 16, 1 << 17, heads)
        shift = self.rng.integers(13, 16, heads) - self.numerics.fraction
        shift += self.streaming.width + self.stationary.width
        call = {"block_rows": self.block, "causal": causal, "q_start": q_start}
        out = exact_attention(q, k, v, mantissa, shift, self.numerics, **call)
        for head in range(heads):
            factor = {"mantissa": mantissa[head], "shift": shift[head]}
            for first in range(0, n_q, self.block):
                rows = slice(first, min(first + self.block, n_q))
                n_seen = min(n_kv, max(1, q_start + rows.stop)) if causal else n_kv
                work = {**factor, "causal": causal, "diagonal": q_start + first}
                self.add_block(q[head, rows], k[head, :n_seen], v[head, :n_seen], work)
                beats = out[head, rows].reshape(-1, self.parameters["out_width"]).tolist()
                self.beats += [{"row": beat, "last": 0} for beat in beats]
                self.beats[-1]["last"] = 1
        return self

    def add_block(self, q, k, v, work):
        """Add the jobs of a query block; keys that its last row does not see are never sent."""
        slots = self.parameters.get("slots", 2)
        self.sent["i_query"] += q.reshape(-1, self.size).tolist()
        for start in range(0, len(k), self.block):
            keys = min(self.block, len(k) - start)
            job = {
                **work,
                "first": start == 0,
                "last": start + keys == len(k),
                "slot": self.n_blocks % slots,
                "rows": len(q),
                "d_tiles": q.shape[1] // self.size,
                "diagonal": work["diagonal"] - start,
                "keys": keys,
            }
            self.sent["i_job"].append(job)
            for x, name in ((k, "i_key"), (v, "i_value")):
                # What does not exist may be anything: the last tile is filled with noise.
                shape = -(-keys // self.size) * self.size, len(q.T)
                filled = self.integers(self.stationary, shape)
                filled[:keys] = x[start : start + keys]
                self.sent[name] += strip_rows(filled, size=self.size)
        self.n_blocks += 1


class Opened(Elaboratable):
    """A lane whose units can be seen; the simulator takes it for the lane."""

    def __init__(self, lane):
        self._lane, self._module = lane, lane.elaborate(None)
        self.units = self._module.submodules

    def __getattr__(self, name):
        return getattr(self._lane, name)

    def elaborate(self, platform):
        return self._module


def check(script, **options):
    """Run a script; return the log. A lane never stands still for long unless others do."""
    lane = Opened(Lane(**script.parameters))
    log = simulate(
        lane,
        inputs={
            name: [to_bits(getattr(lane, name).payload.shape(), item) for item in items]
            for name, items in script.sent.items()
        },
        outputs=["o"],
        cycles=20_000,
        **{"idle": 120, "watched": INNER, **options},
    )
    shape = lane.o.payload.shape()
    assert [from_bits(shape, item) for item in log["o"].items] == script.beats
    for name, items in script.sent.items():
        assert len(log[name].items) == len(items)
    return log


@pytest.mark.parametrize("p_width", [7, 8, 12, 15, 16])
@pytest.mark.parametrize("size", [4, 8])
def test_every_width_of_probabilities(size, p_width):
    script = Script(seed=p_width, size=size, head_dim=2 * size, p_width=p_width)
    check(script.add(9, 13, causal=True, q_start=4), pace=STALLS)


@pytest.mark.parametrize(
    ("stream_width", "stationary_width", "p_width"),
    [(8, 4, 8), (8, 4, 14), (4, 8, 4), (4, 8, 7), (4, 4, 5), (4, 4, 8)],
)
def test_operands_of_4_bits(stream_width, stationary_width, p_width):
    widths = {"stream_width": stream_width, "stationary_width": stationary_width}
    script = Script(seed=p_width, p_width=p_width, **widths)
    script.add(9, 13, causal=True, q_start=4)
    script.add(5, 17, head_dim=4)
    check(script, pace=STALLS)


@pytest.mark.parametrize(("seed", "p_width"), [(1, 14), (2, 8)])
def test_calls_in_a_row(seed, p_width):
    script = Script(seed=seed, p_width=p_width)
    script.add(9, 8, causal=True)
    script.add(1, 17)
    script.add(8, 16, head_dim=4)
    script.add(18, 9, causal=True, q_start=-5)
    script.add(1, 1, heads=3)
    script.add(11, 6, heads=2, causal=True, q_start=20)
    check(script, pace=STALLS, seed=seed)


@pytest.mark.parametrize(
    ("n_q", "n_kv", "changes"),
    [
        (7, 10, {"slots": 1, "row_width": 1, "out_width": 1, "block_rows": 6}),
        (7, 10, {"slots": 3, "row_width": 4, "head_dim": 12, "segments": 64, "fraction": 6}),
        (7, 10, {"slots": 3, "out_width": 4, "head_dim": 12, "p_width": 8}),
        (2, 3, {"block_rows": 1, "head_dim": 4, "tokens": 3, "p_width": 7}),
    ],
)
def test_other_shapes(n_q, n_kv, changes):
    script = Script(**changes).add(n_q, n_kv, heads=2)
    check(script.add(3, 3, head_dim=4, causal=True, q_start=1), pace=STALLS)


def test_rows_that_see_nothing_are_zeros():
    script = Script().add(3, 9, causal=True, q_start=-3)
    assert not any(element for beat in script.beats for element in beat["row"])
    check(script)


def test_nothing_is_lost_while_nobody_takes_outputs():
    script = Script(p_width=8).add(48, 8)
    log = check(script, pace={"o": lambda cycle: cycle >= 600}, idle=600)
    assert log["o"].valid_cycles[0] < 200
    # It went on until both slots were waiting for their outputs to leave.
    before = [cycle for cycle in log["i_job"].cycles if cycle < 600]
    assert 2 <= len(before) < len(script.sent["i_job"])


@pytest.mark.parametrize("late", ["i_job", "i_query", "i_key"])
def test_one_stream_comes_late(late):
    check(Script(p_width=8).add(9, 9), pace={late: lambda cycle: cycle >= 150}, idle=200)


def test_values_that_come_late_let_two_steps_follow_each_other():
    # The softmax of both is done: nothing lies between the passes that add to the same outputs.
    script = Script(p_width=8).add(2, 8, head_dim=4)
    check(script, pace={"i_value": lambda cycle: cycle >= 150}, idle=200)


def test_the_array_never_waits_for_a_tile():
    script = Script(p_width=8, row_width=4, head_dim=16, block_rows=16).add(16, 24)
    rows = check(script)["units__feeder__o"].cycles
    assert len(rows) == 16 * 6 * 4 * 2
    # Nothing hides the softmax of the first and of the last step.
    assert rows[-1] - rows[0] < len(rows) + 60


def test_attributes():
    lane = Lane(**SMALL)
    names = ("size", "head_dim", "tokens", "p_width", "segments", "fraction")
    assert lane.numerics == Numerics(**{name: SMALL[name] for name in names})
    assert lane.parameters["slots"] == 2
    for name, payload in lane_payloads(**SMALL).items():
        assert getattr(lane, name).payload.shape() == payload


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"matrix": "luts"},
            ValueError,
            "Matrix must be one of 'plain', 'dsp', 'lut', not 'luts'",
        ),
        ({"size": 2}, ValueError, "Size must be a power of two of at least 4, not 2"),
        ({"size": 12}, ValueError, "Size must be a power of two of at least 4, not 12"),
        ({"size": 8.0}, ValueError, "Size must be a power of two of at least 4, not 8.0"),
        ({"block_rows": 0}, ValueError, "Block rows must be a positive integer, not 0"),
        ({"block_rows": None}, TypeError, "Block rows must be a positive integer, not None"),
        ({"head_dim": 6}, ValueError, "Head_dim must be a multiple of size 4 up to 1024, not 6"),
        ({"tokens": 0}, ValueError, "Tokens must be 1 to 16777216, not 0"),
        ({"p_width": 6}, ValueError, "P_width must be 7 to 16 when stream_width is 8, not 6"),
        (
            {"stream_width": 4},
            ValueError,
            "P_width must be 4 to 8 when stream_width is 4, not 14",
        ),
        ({"stream_width": 6}, ValueError, "Stream_width must be 4 or 8, not 6"),
        ({"stationary_width": 0}, ValueError, "Stationary_width must be 4 or 8, not 0"),
        ({"stationary_width": "8"}, TypeError, "Stationary_width must be an integer, not '8'"),
        ({"row_width": 3}, ValueError, "Row width must divide size 4, not 3"),
        ({"row_width": 0}, ValueError, "Row width must be a positive integer, not 0"),
        ({"out_width": 3}, ValueError, "Out width must divide size 4, not 3"),
        (
            {"memory": "lut"},
            ValueError,
            "Memory must be one of 'auto', 'block', 'ultra', not 'lut'",
        ),
        ({"slots": 0}, ValueError, "Slots must be a positive integer, not 0"),
        ({"index_tokens": -1}, ValueError, "Tokens must be a positive integer, not -1"),
        ({"index_tokens": 65}, ValueError, "Index tokens must be at most tokens 64, not 65"),
        (
            {"index_tokens": 64, "block_rows": 12},
            ValueError,
            "Block must be a power of two and a multiple of 4, not 12",
        ),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Lane(**SMALL | change)


def test_kinds():
    usual = {"memory": "auto", "runtime_precision": False}
    assert lane_kind("dsp") == {**usual, "matrix": "dsp"}
    assert lane_kind("lut+ultra") == {**usual, "matrix": "lut", "memory": "ultra"}
    serial = {"matrix": "lut", "memory": "ultra", "runtime_precision": True}
    assert lane_kind("lut+serial+ultra") == serial


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dps", "Matrix must be one of 'plain', 'dsp', 'lut', not 'dps'"),
        ("dsp+disk", "Memory must be one of 'auto', 'block', 'ultra', not 'disk'"),
        ("dsp+serial", "Matrix must be 'lut' with runtime precision, not 'dsp'"),
        ("lut+serial+serial", "A lane must be a matrix, or matrix+memory, not 'lut+serial+serial'"),
        ("dsp+ultra+auto", "A lane must be a matrix, or matrix+memory, not 'dsp+ultra+auto'"),
    ],
)
def test_unknown_kinds(kind, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        lane_kind(kind)


def test_it_emits_each_unit_once():
    design = emit(Lane(**SMALL))
    assert len(re.findall(r"^module \\tile_buffer", design.rtlil, re.M)) == 1
    assert len(re.findall(r"^module \\matrix_unit", design.rtlil, re.M)) == 1
    assert design.name in design.boundaries
    assert {port.name for port in design.ports} >= {"i_job__payload", "i_key__ready", "o__valid"}
