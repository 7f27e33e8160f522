import numpy as np

from qkloom.tb.index.topk import choose_exactly
from tests.rtl.index.test_topk import draw


def test_model_is_a_sort():
    rng = np.random.default_rng(1)
    for _ in range(200):
        k, scores, forced = draw(rng, 20)
        best = sorted(range(len(scores)), key=lambda b: (not forced[b], -scores[b], b))[:k]
        assert choose_exactly(scores, forced, k) == best[::-1]
