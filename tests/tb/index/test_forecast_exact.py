"""The integers of the Forecast unit against its rule in float64."""

import numpy as np
import pytest

from qkloom.tb.index.compress import compress_exactly
from qkloom.tb.index.forecast import forecast
from qkloom.tb.index.forecast_exact import Query, pack_lists, score_bits, select_exactly


@pytest.mark.parametrize("seed", range(40))
def test_model_is_the_rule_in_float64(seed):
    """Means are integers here, so that nothing is rounded; then the reference has the same sets."""
    rng = np.random.default_rng(seed)
    tokens = int(rng.choice([1, 40, 500, int(rng.integers(1, 1500))]))
    half = np.repeat(rng.integers(-60, 60, (tokens // 16 + 1, 8)) * 2, 16, axis=0)[:tokens]
    vector = rng.integers(-128, 128, 8)
    init, local = int(rng.integers(0, 3)), int(rng.integers(0, 4))
    asked = Query(
        vector,
        compress_exactly(half),
        position=int(rng.integers(0, tokens)),
        k=init + local + 1 + int(rng.integers(0, 6)),
        init=init,
        local=local,
    )
    found = select_exactly(asked, k_max=16, blocks=24, head_dim=8)
    (reference,) = forecast(
        vector[None], half[None], asked.position, top_k=asked.k, init=init, local=local
    )
    assert found.chosen == tuple(reference.tolist())


def test_lowest_number_is_no_score():
    for n in (1, 3, 128, 256):
        assert -(1 << score_bits(n) - 1) < n * -128 * 127
        assert n * 128 * 128 < 1 << score_bits(n) - 1


def test_lists_end():
    end = {"block": 0, "end": 1}
    assert pack_lists([[], [3]]) == [end, {"block": 3, "end": 0}, end]
