import pytest

import qkloom
from qkloom.gen.chip import read_chip
from qkloom.tb.tensors import Tensors, default_tensors


@pytest.fixture(scope="session")
def chip() -> qkloom.Chip:
    """Return a chip that chooses blocks of 16 tokens by coverage."""
    index = {"method": "coverage", "min_budget": 32, "top_k": 5}
    return qkloom.Chip(read_chip("u280-tiny").replace(index=index))


@pytest.fixture(scope="session")
def tensors() -> Tensors:
    """Return four heads, of which two share keys each."""
    given = default_tensors()
    return Tensors(given.q[:4], given.k[:2], given.v[:2])
