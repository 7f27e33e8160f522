import numpy as np
import pytest

from qkloom.tb.stalls import HELD, Stall, mix


def test_pattern_is_the_same_cycle_by_cycle_and_at_once():
    stall = Stall(0.3, burst=5, seed=7)
    assert [stall.at("o", cycle) for cycle in range(200)] == stall.pattern("o", 200).tolist()


def test_pattern_has_the_asked_share_of_stalls():
    for probability in (0.1, 0.5, 0.9):
        share = Stall(probability).pattern("i", 20_000).mean()
        assert abs(share - probability) < 0.02


def test_extremes():
    assert not Stall().pattern("i", 1000).any()
    assert HELD.pattern("i", 1000).all()


def test_bursts_are_whole():
    groups = Stall(0.5, burst=8).pattern("i", 8 * 100).reshape(-1, 8)
    assert (groups.all(1) | ~groups.any(1)).all()
    assert 0 < groups[:, 0].sum() < 100


def test_seed_and_stream_make_another_pattern():
    patterns = [
        Stall(0.5, seed=seed).pattern(stream, 64) for seed in (0, 1) for stream in ("i", "o")
    ]
    assert len({pattern.tobytes() for pattern in patterns}) == 4
    assert np.array_equal(patterns[0], Stall(0.5).pattern("i", 64))


def test_hash_is_splitmix():
    # The published generator, seeded with 1234567, gives 6457827717110365317 first.
    assert mix(1234567, 0) == 6457827717110365317 >> 32


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_probability_out_of_range(probability):
    with pytest.raises(ValueError, match=r"^Probability must be 0 to 1, not"):
        Stall(probability)


def test_burst_out_of_range():
    with pytest.raises(ValueError, match=r"^Burst must be a positive number of cycles, not 0$"):
        Stall(burst=0)
