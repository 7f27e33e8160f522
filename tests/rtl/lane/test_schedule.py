"""Jobs become steps, steps become passes, in the order that hides the softmax."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.lane.job import job_layout, pass_layout, step_layout
from qkloom.rtl.lane.schedule import PassScheduler, StepExpander
from qkloom.tb.simulate import from_bits, simulate, to_bits

SHAPE = {"size": 8, "block_rows": 32, "head_dim": 32, "slots": 2}
TOKENS = 512
JOB = job_layout(**SHAPE, tokens=TOKENS)
STEP = step_layout(**SHAPE, tokens=TOKENS)
PASS = pass_layout(**SHAPE)


def random_job(rng: random.Random) -> dict[str, int]:
    return {
        "first": rng.randrange(2),
        "last": rng.randrange(2),
        "slot": rng.randrange(2),
        "rows": rng.randint(1, 32),
        "d_tiles": rng.randint(1, 4),
        "causal": rng.randrange(2),
        "diagonal": rng.randint(-40, 500),
        "mantissa": rng.randrange(1 << 17),
        "shift": rng.randrange(64),
        "keys": rng.randint(1, 32),
    }


def steps_of(jobs: list[dict[str, int]]) -> list[dict[str, int]]:
    steps = []
    for job in jobs:
        tiles = -(-job["keys"] // 8)
        for tile in range(tiles):
            steps.append(
                {
                    **job,
                    "first": int(job["first"] and tile == 0),
                    "last": int(job["last"] and tile == tiles - 1),
                    "keys": min(8, job["keys"] - 8 * tile),
                    "diagonal": job["diagonal"] - 8 * tile,
                    "bank": len(steps) % 2,
                }
            )
    return steps


def passes_of(step: dict[str, int], *, value: int) -> list[dict[str, int]]:
    kept = {name: step[name] for name in ("first", "last", "slot", "bank", "rows", "d_tiles")}
    return [
        {**kept, "value": value, "tile": tile, "tile_last": int(tile == step["d_tiles"] - 1)}
        for tile in range(step["d_tiles"])
    ]


def order_of(steps: list[dict[str, int]]) -> list[dict[str, int]]:
    """Return all passes: the values of a step come behind the keys of the next."""
    order = []
    older = None
    for step in steps:
        if older and step["first"] and step["slot"] == older["slot"]:
            order += passes_of(older, value=1)  # the slot must become free first
            older = None
        order += passes_of(step, value=0)
        if older:
            order += passes_of(older, value=1)
        older = step
    return order + passes_of(older, value=1)


@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_a_job_becomes_one_step_per_key_tile(pace):
    rng = random.Random(2)
    jobs = [random_job(rng) for _ in range(30)]
    log = simulate(
        StepExpander(**SHAPE, tokens=TOKENS),
        inputs={"i": [to_bits(JOB, job) for job in jobs]},
        outputs=["o"],
        cycles=400,
        pace={"i": pace, "o": pace},
    )
    assert [from_bits(STEP, raw) for raw in log["o"].items] == steps_of(jobs)


@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_values_of_a_step_come_after_keys_of_the_next(pace):
    rng = random.Random(3)
    steps = steps_of([random_job(rng) for _ in range(12)])
    log = simulate(
        PassScheduler(**SHAPE, tokens=TOKENS),
        inputs={"i": [to_bits(STEP, step) for step in steps]},
        outputs=["passes", "steps"],
        cycles=2000,
        pace={"passes": pace, "steps": pace},
    )
    assert [from_bits(PASS, raw) for raw in log["passes"].items] == order_of(steps)
    assert [from_bits(STEP, raw) for raw in log["steps"].items] == steps


def test_the_last_step_of_a_burst_waits_for_nothing():
    rng = random.Random(4)
    steps = steps_of([random_job(rng) for _ in range(10)])
    log = simulate(
        PassScheduler(**SHAPE, tokens=TOKENS),
        inputs={"i": [to_bits(STEP, step) for step in steps]},
        outputs=["passes", "steps"],
        cycles=4000,
        pace={"i": 0.02},
    )
    passes = [from_bits(PASS, raw) for raw in log["passes"].items]
    for value in (0, 1):
        expected = [p for step in steps for p in passes_of(step, value=value)]
        assert [p for p in passes if p["value"] == value] == expected
    # Never more than two steps between their keys and their values: there are two banks.
    open_steps = 0
    for work in passes:
        if work["tile_last"]:
            open_steps += -1 if work["value"] else 1
        assert 0 <= open_steps <= 2


def test_they_emit():
    assert emit(StepExpander(**SHAPE, tokens=TOKENS)).rtlil
    assert emit(PassScheduler(**SHAPE, tokens=TOKENS)).rtlil
