import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I4, I8, Fixed, Integer
from qkloom.rtl.index.dot_pipe import DotPipeline
from qkloom.tb.engines import check
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

POOLED = Integer(12)


class TestConstructor:
    def test_attributes(self):
        unit = DotPipeline(width=128, beats=2, a=POOLED, b=POOLED)
        assert (unit.sum_width, unit.latency) == (32, 9)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"width": 0}, ValueError, "Width must be a positive integer, not 0"),
            ({"beats": "1"}, TypeError, "Beats must be a positive integer, not '1'"),
            ({"constant": -1}, ValueError, "Constant must not be negative, but is -1"),
            (
                {"b": Integer(19)},
                ValueError,
                "Operand b must fit 18 signed bits, not be I19",
            ),
            (
                {"a": Fixed(4, 4)},
                TypeError,
                "Operand a must be an integer format, not Fixed(4, 4)",
            ),
        ],
    )
    def test_errors(self, changes, error, message):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            DotPipeline(**{"width": 4, "beats": 2} | changes)


@pytest.mark.parametrize("stall", [FREE, Stall(0.5, seed=1)])
@pytest.mark.parametrize(
    ("width", "beats", "a", "b", "constant"),
    [(1, 1, I8, I8, 0), (2, 3, POOLED, POOLED, 8), (5, 2, I4, POOLED, 1), (7, 1, I8, I4, 100)],
)
def test_sums(width, beats, a, b, constant, stall):
    unit = DotPipeline(width=width, beats=beats, a=a, b=b, constant=constant, tag=5)
    rng = np.random.default_rng(width)
    inputs, sums, tags, ends = [], [], [], []
    for number in range(40):
        n = int(rng.integers(1, beats + 1))
        x, y = (rng.integers(f.min_raw, f.max_raw + 1, (n, width)) for f in (a, b))
        if number == 7:
            x[:], y[:] = a.min_raw, b.min_raw
        sums.append(int((x * y).sum()) + constant)
        beat_tags = rng.integers(0, 32, n)
        tags.append(beat_tags[-1])
        at = np.arange(n)
        fields = {"a": x, "b": y, "first": at == 0, "last": at == n - 1, "tag": beat_tags}
        inputs.append(pack(unit.i.payload.shape(), **fields))
        ends += (at == n - 1).tolist()
    bench = Testbench(
        {"i": Stimulus(np.concatenate(inputs), stall)},
        {"o": Expectation(pack(unit.o.payload.shape(), sum=sums, tag=tags))},
        max_cycles=1000,
    )
    result = check(emit(unit), bench, "pysim")
    entered = result.transfers["i"][np.array(ends, bool)]
    assert (result.transfers["o"] - entered == unit.latency).all()
