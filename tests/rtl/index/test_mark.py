import re
from random import Random

import pytest
from amaranth.back import rtlil

from qkloom.rtl.index.mark import VectorMarker
from qkloom.tb.simulate import from_bits, simulate, to_bits


def run(extents, **pace):
    dut = VectorMarker(width=2, vectors=5, beats=3)
    rng = Random(3)
    shape = dut.i.payload.shape()
    n_beats = sum(n * b for n, b, _ in extents)
    beats = [[rng.randint(-128, 127) for _ in range(2)] for _ in range(n_beats)]
    inputs = {
        "extent": [
            to_bits(dut.extent.payload.shape(), {"n": n, "beats": b, "dropped": d})
            for n, b, d in extents
        ],
        "i": [to_bits(shape, beat) for beat in beats],
    }
    logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=9000, idle=90, pace=pace)
    expected = []
    for n, b, dropped in extents:
        for vector in range(n):
            for beat in range(b):
                x, last = beats.pop(0), beat == b - 1
                done = last and vector == n - 1
                if not dropped:
                    expected.append({"x": x, "last": int(last), "done": int(done)})
    return logs, [from_bits(dut.o.payload.shape(), x) for x in logs["o"].items], expected


@pytest.mark.parametrize("pace", [{}, {"i": 0.5}, {"o": 0.3}, {"extent": 0.1, "o": 0.8}])
def test_marks(pace):
    rng = Random(1)
    extents = [(rng.randint(0, 5), rng.randint(0, 3), rng.random() < 0.3) for _ in range(60)]
    logs, found, expected = run(extents, **pace)
    assert found == expected
    assert len(logs["extent"].items) == 60


def test_rate():
    logs, _, _ = run([(5, 3, False), (2, 2, True), (1, 1, False)])
    assert logs["i"].cycles == [*range(1, 16), *range(17, 21), 22]
    assert logs["o"].cycles == [*range(1, 16), 22]


def test_conversion():
    rtlil.convert(VectorMarker(width=2, vectors=5, beats=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "Width must be a positive integer, not 0"),
        ({"vectors": 0}, "Number of vectors must be a positive integer, not 0"),
        ({"beats": -1}, "Number of beats must be a positive integer, not -1"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VectorMarker(**{"width": 2, "vectors": 4, "beats": 8} | change)
