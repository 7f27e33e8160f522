"""Scattering to many streams: everything arrives, in order, where it was for."""

import re
from random import Random

import pytest
from amaranth.back import rtlil

from qkloom.rtl.stream import Scatter
from qkloom.tb.simulate import simulate

SIZES = (1, 2, 16, 17, 28, 65)


def run(n, cycles, sent, **pace):
    """Send pairs of destination and item; return the logs."""
    to_bits = (n - 1).bit_length()
    words = [item << to_bits | to for to, item in sent]
    outputs = [f"o__{k}" for k in range(n)]
    return simulate(
        Scatter(shape=8, n=n), inputs={"i": words}, outputs=outputs, cycles=cycles, pace=pace
    )


@pytest.mark.parametrize("n", SIZES)
class TestBehaviour:
    def test_all_items_in_order(self, n):
        rng = Random(n)
        sent = [(rng.randrange(n), rng.randrange(256)) for _ in range(4 * n + 60)]
        logs = run(n, 12 * n + 400, sent, i=0.9, **{f"o__{k}": 0.2 + 0.8 * k / n for k in range(n)})
        for k in range(n):
            assert logs[f"o__{k}"].items == [item for to, item in sent if to == k]

    def test_full_rate(self, n):
        logs = run(n, 3 * n + 20, [(k % n, k % 256) for k in range(2 * n)])
        cycles = [logs[f"o__{k % n}"].cycles[k // n] for k in range(2 * n)]
        assert cycles == list(range(cycles[0], cycles[0] + 2 * n))

    def test_never_ready(self, n):
        logs = run(n, 30, [(n - 1, 5)], i=0.5, **{f"o__{n - 1}": 0})
        seen = logs[f"o__{n - 1}"].valid_cycles
        assert seen == list(range(seen[0], 30))

    def test_conversion(self, n):
        rtlil.convert(Scatter(shape=8, n=n))


@pytest.mark.parametrize(("n", "error"), [("2", TypeError), (None, TypeError), (0, ValueError)])
def test_wrong_count(n, error):
    message = re.escape(f"Number of destinations must be a positive integer, not {n!r}")
    with pytest.raises(error, match=f"^{message}$"):
        Scatter(shape=8, n=n)
