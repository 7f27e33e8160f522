"""The Forecast unit against its exact model, bit for bit, and against the rule in float64."""

import re

import numpy as np
import pytest
from amaranth.back import rtlil

from qkloom.gen.emit import emit
from qkloom.rtl.index.forecast import Forecast
from qkloom.tb.engines import check
from qkloom.tb.index.forecast_exact import Query, select_exactly
from qkloom.tb.index.forecast_stream import forecast_program
from qkloom.tb.stalls import Stall
from tests.rtl.index.queries import draw

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
    check(design, forecast_program(unit, queries, stalls, aborted_cycles=30 + 7 * seed))


def test_hundreds_of_larger_queries(designs):
    unit, design = designs["large"]
    rng = np.random.default_rng(7)
    check(design, forecast_program(unit, [draw(rng, **LARGE) for _ in range(200)]))


@pytest.mark.parametrize("stream", ["query", "vector", "keys", "resident", "result", "load"])
def test_a_slow_stream(designs, stream):
    unit, design = designs["small"]
    rng = np.random.default_rng(11)
    check(
        design,
        forecast_program(unit, [draw(rng, **SMALL) for _ in range(12)], {stream: Stall(0.97)}),
    )


def flags(query, sizes=SMALL):
    return select_exactly(query, **{x: sizes[x] for x in ("k_max", "blocks", "head_dim")})


def query(windows=8, **change):
    vector = np.full(8, 127)
    parameters = {"position": 127, "k": 3, "init": 1, "local": 0, "resident": (1, 4)}
    return Query(vector, np.full((windows, 8), -128), **parameters | change)


# Each bad input, and what is answered: chosen, load, evict, flags.
CASES = {
    "all at minus full scale": (
        query(48, position=767),
        {"chosen": (0, 1, 11), "load": (0, 11), "evict": (4,), "flat": 1},
    ),
    "single": (
        query(1, position=0, k=1, init=0),
        {"chosen": (0,), "load": (0,), "evict": (1, 4), "flat": 1, "single": 1},
    ),
    "fewer": (
        query(8),
        {"chosen": (0, 1), "load": (0,), "evict": (4,), "flat": 1, "fewer": 1},
    ),
    "no keys": (
        query(0, position=767),
        {"chosen": (0, 1, 11), "load": (0, 11), "evict": (4,), "flat": 1},
    ),
    "k too large": (query(8, k=6), {"refused": 1}),
    "more always than k": (query(8, local=2), {"refused": 1}),
    "too many blocks": (query(8, position=768), {"refused": 1}),
    "too many keys": (query(49, position=767), {"refused": 1}),
}


def test_bad_input_has_a_defined_answer(designs):
    unit, design = designs["small"]
    for name, (asked, answer) in CASES.items():
        found = flags(asked)
        expected = dict.fromkeys(found.flags, 0) | {"chosen": (), "load": (), "evict": ()} | answer
        lists = {"chosen": found.chosen, "load": found.load, "evict": found.evict}
        assert found.flags | lists == expected, name
    check(design, forecast_program(unit, [asked for asked, _ in CASES.values()] * 2))


def test_keys_of_the_next_query_wait_for_the_cells_only(designs):
    """What passes between two queries' keys: a push of each cell, and what is on its way."""
    sizes = {"k_max": 40, "blocks": 64, "head_dim": 8, "width": 8}
    unit = Forecast(**sizes)
    rng = np.random.default_rng(3)
    one = Query(rng.integers(-128, 128, 8), rng.integers(-128, 128, (255, 8)), 4095, 8, 1, 2)
    design = emit(unit)
    cycles = [check(design, forecast_program(unit, [one] * n)).cycles for n in (2, 3)]
    assert 256 + 20 < cycles[1] - cycles[0] <= 256 + sizes["k_max"] + 10


def test_defaults():
    unit = Forecast()
    assert dict(unit.parameters) == {"k_max": 128, "blocks": 8192, "head_dim": 128, "width": 32}


def test_conversion():
    rtlil.convert(Forecast(**SMALL))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k_max": 0}, ValueError, "Largest k must be a positive integer, not 0"),
        ({"k_max": 13}, ValueError, "Largest k must be at most 12, not 13"),
        ({"blocks": 1.0}, TypeError, "Blocks must be a positive integer, not 1.0"),
        ({"width": -4}, ValueError, "Width must be a positive integer, not -4"),
        (
            {"head_dim": 6},
            ValueError,
            "Head dimension must be a multiple of the width, 4, not 6",
        ),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Forecast(**SMALL | change)
