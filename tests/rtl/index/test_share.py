import re
from random import Random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.share import Share
from qkloom.tb.simulate import simulate


@pytest.mark.parametrize("width", [1, 3, 16, 17, 32, 40])
def test_shares(width):
    rng = Random(width)
    largest = (1 << width) - 1
    asked = [(x, gamma) for x in (0, 1, largest) for gamma in (0, 1, 0x8000, 0xFFFF)]
    asked += [(rng.getrandbits(width), rng.getrandbits(16)) for _ in range(40)]
    dut = Share(total_width=width)
    # One after the other has been answered.
    pace = {"i": lambda cycle: cycle % (dut.latency + 1) == 0}
    logs = simulate(
        dut,
        inputs={"i": [total | gamma << width for total, gamma in asked]},
        outputs=["o"],
        cycles=(dut.latency + 2) * len(asked),
        pace=pace,
    )
    assert logs["o"].items == [-(-total * gamma // 65536) for total, gamma in asked]
    assert logs["o"].cycles == [cycle + dut.latency for cycle in logs["i"].cycles]


def test_conversion():
    assert emit(Share(total_width=32)).ports


@pytest.mark.parametrize(("width", "error"), [(0, ValueError), ("8", TypeError)])
def test_errors(width, error):
    message = re.escape(f"Total width must be a positive integer, not {width!r}")
    with pytest.raises(error, match=f"^{message}$"):
        Share(total_width=width)
