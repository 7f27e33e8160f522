"""What `make prove` found last: every proof came to its end."""

import json
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parent / "prove" / "results.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["proof"])
def test_proven(row):
    assert row["verdict"] == "proven"
    assert row["steps"] > 0
