"""The tile loader brings keys by columns and values by rows, in the order of the passes."""

import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.lane.loader import TileLoader
from qkloom.tb.buffer.tile import strip_rows, tile
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"size": 4, "block_rows": 8, "head_dim": 12, "slots": 2}


class Script:
    """Steps of random width; their passes in a lane's order, and the tiles that they load."""

    def __init__(
        self,
        *,
        n_steps,
        seed,
        is_signed,
        size,
        head_dim,
        stationary_width=8,
        digit_planes=None,
        **shape,
    ):
        rng = np.random.default_rng(seed)
        self.size, end = size, 1 << stationary_width - 1
        self.digit_planes = digit_planes
        self.passes, self.beats = [], []
        self.strips = {0: [], 1: []}
        for n in range(n_steps):
            width = size * int(rng.integers(1, head_dim // size + 1))
            for strips in self.strips.values():
                strips.append(rng.integers(-end, end, (size, width)))
            self.add(n, value=0, is_signed=1)
            if n:
                self.add(n - 1, value=1, is_signed=int(is_signed))
        self.add(n_steps - 1, value=1, is_signed=int(is_signed))

    def add(self, n, *, value, is_signed):
        strip = self.strips[value][n]
        n_tiles = strip.shape[1] // len(strip)
        for number in range(n_tiles):
            work = {"value": value, "tile": number, "tile_last": int(number == n_tiles - 1)}
            # Where results go is no concern of the loader.
            others = {"first": 1, "last": 0, "slot": 1, "bank": n % 2, "rows": 1}
            self.passes.append({**work, **others, "d_tiles": n_tiles})
            planes = {}
            if self.digit_planes:
                self.passes[-1]["planes"] = 1 + (n + number) % 8
                planes = {"planes": self.digit_planes if value else 1 + (n + number) % 8}
            rows = tile(strip, number, columns=not value).tolist()
            self.beats += [{"row": row, "is_signed": is_signed, **planes} for row in rows]

    def inputs(self, dut):
        inputs = {"i": [to_bits(dut.i.payload.shape(), work) for work in self.passes]}
        for name, strips in zip(("keys", "values"), self.strips.values(), strict=True):
            shape = getattr(dut, name).payload.shape()
            rows = [row for strip in strips for row in strip_rows(strip, size=self.size)]
            inputs[name] = [to_bits(shape, row) for row in rows]
        return inputs


def run(script, *, is_signed=True, shape=SHAPE, **options):
    dut = TileLoader(**shape, is_signed=is_signed)
    log = simulate(
        dut, inputs=script.inputs(dut), outputs=["tile"], cycles=6000, idle=200, **options
    )
    return log, [from_bits(dut.tile.payload.shape(), item) for item in log["tile"].items]


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_tiles_of_passes_whatever_stalls(seed, is_signed):
    script = Script(n_steps=10, seed=seed, is_signed=is_signed, **SHAPE)
    pace = {"i": 0.4, "keys": 0.7, "values": 0.6, "tile": 0.7}
    _, beats = run(script, is_signed=is_signed, pace=pace, seed=seed)
    assert beats == script.beats


def test_elements_of_4_bits():
    shape = SHAPE | {"stationary_width": 4}
    script = Script(n_steps=5, seed=6, is_signed=True, **shape)
    _, beats = run(script, shape=shape)
    assert beats == script.beats


def test_tiles_say_how_many_bits_stream_under_them():
    shape = SHAPE | {"runtime_precision": True, "digit_planes": 6}
    script = Script(n_steps=9, seed=6, is_signed=True, **shape)
    _, beats = run(script, shape=shape, pace={"tile": 0.7})
    assert beats == script.beats
    assert {beat["planes"] for beat in beats} == {1, 2, 3, 4, 5, 6, 7, 8}


def test_one_row_a_cycle_and_the_next_tile_right_behind():
    script = Script(n_steps=6, seed=3, is_signed=True, **SHAPE)
    n_rows = sum(strip.size // 4 for strip in script.strips[0])
    log, beats = run(script, pace={"i": lambda cycle: cycle > n_rows})
    assert beats == script.beats
    # The strips of both buffers are there from the start; filling goes on meanwhile.
    within = log["tile"].cycles[: 4 * len(script.passes) // 2]
    assert within == list(range(within[0], within[0] + len(within)))


def test_a_pass_waits_for_its_strip():
    script = Script(n_steps=2, seed=4, is_signed=True, **SHAPE)
    log, beats = run(script, pace={"values": lambda cycle: cycle >= 100})
    assert beats == script.beats
    n_keys = 4 * sum(strip.shape[1] // 4 for strip in script.strips[0])
    assert log["tile"].cycles[n_keys - 1] < 100 < log["tile"].cycles[n_keys]


def test_rows_wait_when_nobody_takes_them():
    script = Script(n_steps=4, seed=5, is_signed=False, **SHAPE)
    log, beats = run(script, is_signed=False, pace={"tile": lambda cycle: cycle >= 80})
    assert beats == script.beats
    assert log["tile"].valid_cycles[:2] == [log["tile"].valid_cycles[0] + n for n in range(2)]
    assert log["tile"].valid_cycles[0] < 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 6}, "Size must be a power of two of at least 2, not 6"),
        ({"size": 1}, "Size must be a power of two of at least 2, not 1"),
        ({"head_dim": 10}, "Head_dim must be a multiple of size 4, not 10"),
        ({"slots": 0}, "Slots must be a positive integer, not 0"),
        ({"stationary_width": 5}, "Stationary width must be 4 or 8, not 5"),
        (
            {"runtime_precision": True},
            "Digit planes must be 1 to 8 with runtime precision, not None",
        ),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TileLoader(**SHAPE | change, is_signed=True)


def test_it_emits():
    assert emit(TileLoader(**SHAPE, is_signed=True)).rtlil
