"""The check that constructors share."""

import re

import pytest

from qkloom.rtl.check import check_count
from qkloom.rtl.matrix.output_stationary import OutputStationary
from qkloom.rtl.matrix.stationary import MatrixUnit


@pytest.mark.parametrize("value", [1, 7, 1024])
def test_a_count_passes_through(value):
    assert check_count("Depth", value, most=1024) == value


@pytest.mark.parametrize("value", ["4", 4.0, None, True])
def test_the_wrong_kind(value):
    message = f"^Depth must be a positive integer, not {re.escape(repr(value))}$"
    with pytest.raises(TypeError, match=message):
        check_count("Depth", value)


@pytest.mark.parametrize("value", [0, -3])
def test_too_small(value):
    with pytest.raises(ValueError, match=f"^Depth must be a positive integer, not {value}$"):
        check_count("Depth", value)


def test_too_large():
    with pytest.raises(ValueError, match=r"^Depth must be at most 8, not 9$"):
        check_count("Depth", 9, most=8)


@pytest.mark.parametrize("array", [MatrixUnit, OutputStationary])
def test_arrays_nobody_can_build_are_refused_at_once(array):
    with pytest.raises(ValueError, match=r"^Number of rows must be at most 1024, not 100000000$"):
        array(rows=100_000_000, cols=4)
