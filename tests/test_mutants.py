"""What `make mutate` found last: enough mutants of every unit killed, every survivor explained."""

import json
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parent / "mutate" / "results.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["unit"])
def test_of_100_mutants_at_least_95_are_killed_and_the_others_explained(row):
    n_run, n_killed = row["drawn"] - row["equivalent"], sum(row["killed"].values())
    assert n_run == 100
    assert n_killed >= 95
    assert n_killed + len(row["survivors"]) == n_run
    assert [x["place"] for x in row["survivors"] if x["explanation"] == "unexplained"] == []
