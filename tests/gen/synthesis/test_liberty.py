from pathlib import Path

import pytest

from qkloom.gen.synthesis.liberty import read_areas
from qkloom.tb.tensors import InputError

CELLS = Path(__file__).parent / "cells.lib"


def test_areas():
    assert read_areas(CELLS) == {
        "INV1": 1.0,
        "BUF1": 1.75,
        "NAND2": 1.5,
        "NOR2": 1.25,
        "DFF": 4.0,
    }


def test_what_looks_like_cells(tmp_path):
    file = tmp_path / "odd.lib"
    file.write_text(
        'library (a) { /* cell (X) { area : 1; } */ area : 9; note : "cell (Y) { area : 2; ";\n'
        "cell (Z) { bundle (b) { area : 3; } area : 5e-1; } }"
    )
    assert read_areas(file) == {"Z": 0.5}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "it has 0 cells with an area"),
        ("{}", "it has 0 cells with an area"),
        ("<html> cell (A) { area : 1; } </html>", "it has 1 cells with an area"),
        ("library (a) { cell (A) { area : 1; }", "its braces do not match"),
        ("library (a) { cell (A) { area : 1; } } }", "its braces do not match"),
    ],
)
def test_broken(tmp_path, text, found):
    file = tmp_path / "broken.lib"
    file.write_text(text)
    message = rf"broken\.lib must be a Liberty file of cells with areas, and {found}; get it anew"
    with pytest.raises(InputError, match=message):
        read_areas(file)


@pytest.mark.parametrize("area", ["1.2.3", "-1.5", "1e999", "nan", "-inf"])
def test_area_that_is_none(tmp_path, area):
    file = tmp_path / "odd.lib"
    file.write_text(f"library (a) {{ cell (A) {{ area : {area}; }} }}")
    message = rf"odd\.lib must have numbers of at least 0 as areas, not '{area}'; get it anew$"
    with pytest.raises(InputError, match=message):
        read_areas(file)


def test_missing(tmp_path):
    message = r"none\.lib must be a readable Liberty file: No such file or directory; correct the"
    with pytest.raises(InputError, match=message):
        read_areas(tmp_path / "none.lib")
