import pytest

import qkloom
from qkloom.tb.tensors import Tensors, default_tensors


@pytest.fixture(scope="session")
def chip() -> qkloom.Chip:
    """Return a chip that chooses blocks of 16 tokens by coverage."""
    return qkloom.load(
        {
            "name": "chooser",
            "clock_mhz": 100.0,
            "lanes": [{"matrix": "plain", "n": 2}],
            "size": 8,
            "block": 16,
            "head_dim": 32,
            "tokens": 512,
            "sparse": True,
            "index": {"method": "coverage", "min_budget": 32, "top_k": 5},
        }
    )


@pytest.fixture(scope="session")
def tensors() -> Tensors:
    """Return four heads, of which two share keys each."""
    given = default_tensors()
    return Tensors(given.q[:4], given.k[:2], given.v[:2])
