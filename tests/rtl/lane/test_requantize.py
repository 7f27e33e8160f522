"""Outputs become words, or integers of 8 bits: rounded, clipped, packed."""

import numpy as np
import pytest

from qkloom.rtl.lane.requantize import WORD, Requantizer
from qkloom.tb.lane.requantize import requantize
from qkloom.tb.packing import pack, unpack
from qkloom.tb.simulate import simulate

EDGES = [0, 1, -1, 1 << 15, (1 << 15) - 1, -(1 << 15), -(1 << 15) - 1, (127 << 16) + (1 << 15) - 1]
EDGES += [(127 << 16) + (1 << 15), (1 << 23) - 1, -(1 << 23), 3 << 15, -3 << 15]


def outputs(width, beats, seed=1):
    rng = np.random.default_rng(seed)
    values = rng.integers(-(1 << 23), 1 << 23, beats * width)
    values[: len(EDGES)] = EDGES
    return values.reshape(beats, width)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_every_value(width, narrow, stall):
    dut = Requantizer(out_width=width)
    values = outputs(width, 40)
    last = np.arange(40) % 8 == 7
    beats = pack(dut.i.payload.shape(), row=values, last=last)
    items = [int.from_bytes(beat.tobytes(), "little") for beat in beats]

    async def mode(ctx):
        ctx.set(dut.narrow, narrow)

    came = simulate(
        dut,
        inputs={"i": items},
        outputs=["o"],
        pace={"i": 1 - stall, "o": 1 - stall},
        cycles=400,
        beside=[mode],
    )["o"].items
    expected = requantize(values).reshape(-1) if narrow else values.reshape(-1)
    n_bytes = -(-len(dut.o.payload.as_value()) // 32) * 4
    words = np.frombuffer(b"".join(x.to_bytes(n_bytes, "little") for x in came), np.uint32)
    got = unpack(dut.o.payload.shape(), words.reshape(len(came), -1))
    row = np.ascontiguousarray(got["row"].astype("<i4"))
    assert np.array_equal((row.view(np.int8) if narrow else row).reshape(-1), expected)
    assert got["last"].sum() == 5
    assert WORD.width == 32


def test_rounding():
    assert requantize(np.array(EDGES)).tolist() == [
        0,
        0,
        0,
        1,
        0,
        0,
        -1,
        127,
        127,
        127,
        -128,
        2,
        -1,
    ]


@pytest.mark.parametrize("width", [0, "4"])
def test_bad_parameters(width):
    with pytest.raises(
        (TypeError, ValueError), match=r"^Out width must be a positive integer, not"
    ):
        Requantizer(out_width=width)
