import numpy as np
import pytest

from qkloom.tb.index.blocks import pool_exactly
from qkloom.tb.index.forecast import pool_scores
from tests.rtl.index.test_blocks import WIDTH, draw


@pytest.mark.parametrize("seed", range(30))
def test_model_is_the_rule(seed):
    rng = np.random.default_rng(seed)
    scores, call = draw(rng, 9)
    call["n_blocks"] = n = max(call["n_blocks"], 1)
    pooled = pool_exactly(scores, **call, score_width=WIDTH)
    seen = np.where(np.arange(len(scores)) <= 4 * (n - 1) + call["seen"], scores, -np.inf)
    reference = pool_scores(seen, n)
    assert np.array_equal(np.where(np.isinf(reference), -32, reference), pooled.scores)
