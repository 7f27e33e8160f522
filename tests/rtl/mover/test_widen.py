"""Beats are joined in their order, at one a cycle."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.mover.widen import Widen
from qkloom.tb.simulate import simulate

WIDTH = 16


def run(n, n_wide, **pace):
    rng = random.Random(n)
    beats = [rng.getrandbits(WIDTH) for _ in range(n * n_wide)]
    lasts = [rng.randrange(2) for _ in range(n_wide)]
    logs = simulate(
        Widen(data_width=WIDTH, n=n),
        # Only the last beat's ``last`` counts.
        inputs={
            "i": [
                beat | (lasts[k // n] if k % n == n - 1 else rng.randrange(2)) << WIDTH
                for k, beat in enumerate(beats)
            ]
        },
        outputs=["o"],
        cycles=3000,
        idle=20,
        pace=pace,
        seed=n,
    )
    expected = [
        sum(beat << WIDTH * j for j, beat in enumerate(beats[n * k : n * k + n]))
        | last << n * WIDTH
        for k, last in enumerate(lasts)
    ]
    return logs, expected


@pytest.mark.parametrize("n", [1, 2, 3, 4])
class TestWiden:
    @pytest.mark.parametrize("pace", [(1, 0.5), (0.5, 1), (0.6, 0.4)])
    def test_random(self, n, pace):
        logs, expected = run(n, 60, i=pace[0], o=pace[1])
        assert logs["o"].items == expected

    def test_full_rate(self, n):
        logs, expected = run(n, 20)
        assert logs["o"].items == expected
        assert logs["o"].cycles == [n * k + n for k in range(20)]
        assert logs["i"].cycles == list(range(20 * n))

    def test_never_taken(self, n):
        logs, _ = run(n, 3, o=0)
        assert len(logs["i"].items) == (2 if n == 1 else 2 * n - 1)
        assert logs["o"].valid_cycles[0] == n
        assert logs["o"].items == []

    def test_conversion(self, n):
        emit(Widen(data_width=WIDTH, n=n), verilog=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_width": 0}, r"^Data width must be a positive integer, not 0$"),
        ({"n": 0}, r"^Number of beats must be a positive integer, not 0$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Widen(**{"data_width": WIDTH, "n": 2, **changes})
    with pytest.raises(TypeError, match=message.replace("not 0", "not 1.5")):
        Widen(**{"data_width": WIDTH, "n": 2, **dict.fromkeys(changes, 1.5)})
