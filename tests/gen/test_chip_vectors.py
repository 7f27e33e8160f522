import re
from pathlib import Path
from typing import Any

import pytest

from qkloom.gen.api import load
from qkloom.gen.call import build_core
from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.gen.chip_vectors import chip_vectors

MINI = {
    "name": "mini",
    "clock_mhz": 100.0,
    "lanes": [{"matrix": "plain", "n": 2}],
    "size": 4,
    "block": 8,
    "head_dim": 8,
    "tokens": 32,
    "softmax": {"p_width": 12, "segments": 8, "fraction": 8},
}


@pytest.fixture(scope="module")
def mini() -> ChipDescription:
    return read_chip(MINI)


def test_chip_in_verilator_and_with_a_wrong_line(tmp_path: Path, bench: Any) -> None:
    folder = load(MINI).generate(tmp_path / "mini", vectors=4)
    assert bench.run(bench.build(folder), folder).startswith("PASS: mini: ")
    verilog = folder / "mini.v"
    text = verilog.read_text()
    (module,) = re.findall(r"module output_accumulator.*?endmodule", text, re.DOTALL)
    assert ">>>" in module
    verilog.write_text(text.replace(module, module.replace(">>>", ">>", 1)))
    assert "must be" in bench.run(bench.build(folder), folder)


def test_same_in_every_run(mini: ChipDescription) -> None:
    assert chip_vectors(mini, build_core(mini), 2) == chip_vectors(mini, build_core(mini), 2)


def test_more_cases_begin_with_the_same(mini: ChipDescription) -> None:
    core = build_core(mini)
    one, two = (chip_vectors(mini, core, n) for n in (1, 2))
    for name, words in one.inputs.items():
        assert two.inputs[name][: len(words)] == words


def test_every_lane_answers(mini: ChipDescription) -> None:
    expected = chip_vectors(mini, build_core(mini), 1).outputs["o"]
    assert expected.key_width == 1
    assert {word & 1 for word in expected.words} == {0, 1}
