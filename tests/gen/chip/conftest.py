from typing import Any

import pytest


@pytest.fixture
def plain() -> dict[str, Any]:
    """A description with nothing but what it must say."""
    return {
        "name": "mine",
        "clock_mhz": 100.0,
        "lanes": [{"matrix": "plain", "n": 1}],
        "size": 8,
        "block": 16,
        "head_dim": 32,
        "tokens": 512,
    }
