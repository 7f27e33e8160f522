from qkloom.tb.lane.schedule import passes_of, steps_of

JOB = {"first": 1, "last": 1, "slot": 1, "rows": 5, "d_tiles": 2, "keys": 9, "diagonal": 3}


def test_a_step_per_key_tile():
    steps = steps_of([JOB, JOB | {"first": 0, "keys": 4, "diagonal": -2}], size=4)
    assert [step["keys"] for step in steps] == [4, 4, 1, 4]
    assert [step["diagonal"] for step in steps] == [3, -1, -5, -2]
    assert [(step["first"], step["last"]) for step in steps] == [(1, 0), (0, 0), (0, 1), (0, 1)]
    assert [step["bank"] for step in steps] == [0, 1, 0, 1]
    assert all((step["slot"], step["rows"]) == (1, 5) for step in steps)


def test_a_pass_per_tile_of_head_dim():
    kept = {"first": 1, "last": 1, "slot": 1, "bank": 0, "rows": 5, "d_tiles": 2, "value": 1}
    assert passes_of(JOB | {"bank": 0}, value=1) == [
        {**kept, "tile": 0, "tile_last": 0},
        {**kept, "tile": 1, "tile_last": 1},
    ]
