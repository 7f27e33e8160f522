from pathlib import Path

import pytest

from qkloom.gen.synthesis.vivado import read_utilization
from qkloom.tb.tensors import InputError

HERE = Path(__file__).parent


def test_report_of_sites():
    found = read_utilization(HERE / "utilization.rpt")
    assert found.total == {
        "lut": 1200,
        "lutram": 300,
        "ff": 2500,
        "carry8": 31,
        "bram36": 4.5,
        "uram": 2,
        "dsp": 12,
    }
    assert not found.instances


def test_footnotes_and_older_names(tmp_path):
    file = tmp_path / "old.rpt"
    file.write_text("| Slice LUTs* | 7 | 0 |\n| Slice Registers | 9 | 0 |\n| CARRY4 | 3 | 0 |\n")
    assert read_utilization(file).total == {"lut": 7, "ff": 9, "carry8": 1.5}


def test_report_of_the_hierarchy():
    found = read_utilization(HERE / "hierarchy.rpt")
    assert found.total == {"lut": 100, "lutram": 30, "ff": 500, "bram36": 1.5, "uram": 0, "dsp": 10}
    assert list(found.instances) == ["lane_0", "lane_0.matrix", "lane_1"]
    assert found.instances["lane_0.matrix"]["lutram"] == 10
    assert found.instances["lane_1"]["bram36"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", r"other\.rpt must be a utilization report of Vivado, and has no LUTs and reg"),
        (
            "| CLB LUTs | many |\n",
            r"other\.rpt must have numbers in its tables: .*'many'; write it",
        ),
    ],
)
def test_something_else(tmp_path, text, message):
    file = tmp_path / "other.rpt"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_utilization(file)


def test_missing(tmp_path):
    message = r"missing must be a readable file: No such file or directory; correct the path after"
    with pytest.raises(InputError, match=message):
        read_utilization(tmp_path / "missing")
