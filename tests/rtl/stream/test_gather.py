"""Gathering many streams: everything arrives, in order, from whom it says, and nobody starves."""

import re
from random import Random

import pytest
from amaranth.back import rtlil

from qkloom.rtl.stream import Gather
from qkloom.tb.simulate import simulate

SIZES = (1, 2, 8, 9, 28, 65)


def run(n, cycles, sent, **pace):
    """Send a list of items to each input; return the log, and pairs of index and item."""
    index_bits = (n - 1).bit_length()
    inputs = {f"i__{k}": items for k, items in enumerate(sent)}
    dut = Gather(shape=8, n=n)
    logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=cycles, pace=pace)
    return logs, [(x & (1 << index_bits) - 1, x >> index_bits) for x in logs["o"].items]


@pytest.mark.parametrize("n", SIZES)
class TestBehaviour:
    def test_all_items_in_the_order_of_their_input(self, n):
        rng = Random(n)
        sent = [[rng.randrange(256) for _ in range(6)] for _ in range(n)]
        paces = {f"i__{k}": 0.1 + 0.8 * k / n for k in range(n)}
        _, got = run(n, 1200, sent, o=0.7, **paces)
        assert len(got) == 6 * n
        for k in range(n):
            assert [item for index, item in got if index == k] == sent[k]

    def test_full_rate(self, n):
        logs, _ = run(n, 8 * n + 40, [range(4)] * n)
        cycles = logs["o"].cycles
        assert len(cycles) == 4 * n
        # While all have items; in the end groups of different sizes run dry.
        assert cycles[: 2 * n] == list(range(cycles[0], cycles[0] + 2 * n))

    def test_nobody_waits_for_more_than_one_item_of_each(self, n):
        _, got = run(n, 8 * n + 40, [range(4)] * n)
        for k in range(n):
            places = [place for place, (index, _) in enumerate(got) if index == k]
            assert places[0] < 2 * max(n, 8)

    def test_never_ready(self, n):
        logs, _ = run(n, 30, [range(5)] * n, o=0, **{f"i__{k}": 0.3 for k in range(n)})
        first = logs["o"].valid_cycles[0]
        assert logs["o"].valid_cycles == list(range(first, 30))

    def test_conversion(self, n):
        rtlil.convert(Gather(shape=8, n=n))


@pytest.mark.parametrize(("n", "error"), [("2", TypeError), (None, TypeError), (0, ValueError)])
def test_wrong_count(n, error):
    message = re.escape(f"Number of inputs must be a positive integer, not {n!r}")
    with pytest.raises(error, match=f"^{message}$"):
        Gather(shape=8, n=n)
