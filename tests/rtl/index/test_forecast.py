"""The Forecast unit against its exact model, bit for bit, and against the rule in float64."""

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.forecast import Forecast
from qkloom.tb.engines import check
from qkloom.tb.stalls import Stall
from tests.rtl.index.queries import bench, draw

SMALL = {"k_max": 5, "blocks": 12, "head_dim": 8, "width": 4}
LARGE = {"k_max": 128, "blocks": 512, "head_dim": 16, "width": 8}


@pytest.fixture(scope="module")
def designs():
    return {
        name: (unit := Forecast(**sizes), emit(unit, name=name))
        for name, sizes in (("small", SMALL), ("large", LARGE))
    }


@pytest.mark.parametrize("seed", range(6))
def test_thousands_of_small_queries(designs, seed):
    unit, design = designs["small"]
    rng = np.random.default_rng(seed)
    queries = [draw(rng, **SMALL) for _ in range(500)]
    names = ("query", "vector", "keys", "resident", "result", "chosen", "load", "evict")
    stalls = {x: Stall(float(rng.choice([0, 0.3, 0.8])), seed=seed) for x in names}
    check(design, bench(unit, queries, stalls, aborted_cycles=30 + 7 * seed))


def test_hundreds_of_larger_queries(designs):
    unit, design = designs["large"]
    rng = np.random.default_rng(7)
    check(design, bench(unit, [draw(rng, **LARGE) for _ in range(300)]))
