"""The committed fit belongs to the committed points, and holds what is asked of it."""

import pytest

from qkloom.gen.estimate.model import read_fit
from qkloom.tb.yosys import find_full_yosys
from tests.fit.__main__ import JUDGED
from tests.fit.chips import BASE, build_part
from tests.fit.fit import digest_of_points, misses, residuals, summarize
from tests.fit.points import choose_points
from tests.fit.report import PLOT, TABLE
from tests.fit.synthesize import emitted, read_points, synthesize_points

REMEDY = "run `make fit`"


@pytest.fixture(scope="module")
def chosen():
    return choose_points()


@pytest.fixture(scope="module")
def known():
    return {point["command"]: point for point in read_points()}


def test_points_are_those_that_the_seed_chooses(chosen, known):
    assert {(p.command, p.group, p.top_only) for p in chosen} == {
        (p["command"], p["group"], p["top_only"]) for p in known.values()
    }, REMEDY
    assert len(known) >= 120
    assert {p["yosys"] for p in known.values()} == {read_fit().yosys}


def test_fit_is_of_these_points(known):
    fit = read_fit()
    assert fit.points == digest_of_points(), REMEDY
    assert fit.n_points == len(known)
    assert f"{fit.n_points} points" in TABLE.read_text()
    assert PLOT.exists()


def test_what_was_not_fitted_is_as_near_as_asked(chosen, known):
    judged = [(p, known[p.command]) for p in chosen if p.group in JUDGED]
    found = list(residuals(judged, read_fit()))
    assert misses(found) == []
    assert summarize(found) == read_fit().errors, REMEDY


def test_a_point_is_what_yosys_says(chosen, known, require):
    require("yosys")
    point = next(p for p in chosen if p.unit == "queue")
    component, design = emitted(point)
    assert design.digest == known[point.command]["digest"], REMEDY
    (found,) = synthesize_points([(point, component, design)], find_full_yosys(None))
    # Beside other points, ties may have been decided otherwise.
    assert found["total"] == pytest.approx(known[point.command]["total"], abs=2)


def test_hardware_of_small_points_is_unchanged(chosen, known):
    stale = [
        p.command
        for p in chosen
        if p.unit in ("exp2", "route", "mask")
        and known[p.command]["digest"] != emitted(p)[1].digest
    ]
    assert not stale, REMEDY


def test_parts_of_chips_are_those_of_the_kernel():
    fetcher = build_part({"part": "engine.q", "lanes": "3", "channels": "8", "data-width": "64"})
    assert type(fetcher).__name__ == "Fetcher"
    found = {name: fetcher.parameters[name] for name in ("n_channels", "to", "data_width")}
    assert found == {"n_channels": 2, "to": 3, "data_width": 64}


def test_parts_of_chips_come_from_several_chips(chosen):
    groups = {}
    for point in chosen:
        if point.unit == BASE and not point.top_only:
            groups.setdefault(point.options["part"], set()).add(point.group)
    assert len(groups) == 16
    assert all(of >= {"fitted", "size"} for of in groups.values())


@pytest.mark.parametrize("group", ["fitted", *JUDGED])
def test_every_group_has_points(group, known):
    assert sum(p["group"] == group for p in known.values()) >= 10
