import re
from pathlib import Path
from typing import Any

import qkloom
from qkloom.gen.call import build_core
from qkloom.gen.chip_vectors import chip_vectors


def test_chip_in_verilator_and_with_a_wrong_line(
    mini: qkloom.Chip, tmp_path: Path, bench: Any
) -> None:
    folder = mini.generate(tmp_path / "mini", vectors=4)
    assert bench.run(bench.build(folder), folder).startswith("PASS: core_")
    verilog = folder / "mini.v"
    text = verilog.read_text()
    (module,) = re.findall(r"module output_column.*?endmodule", text, re.DOTALL)
    assert " + " in module
    verilog.write_text(text.replace(module, module.replace(" + ", " - ", 1)))
    assert "must be" in bench.run(bench.build(folder), folder)


def test_same_in_every_run(mini: qkloom.Chip) -> None:
    assert chip_vectors(mini.description, build_core(mini.description), 2) == chip_vectors(
        mini.description, build_core(mini.description), 2
    )


def test_more_cases_begin_with_the_same(mini: qkloom.Chip) -> None:
    core = build_core(mini.description)
    one, two = (chip_vectors(mini.description, core, n) for n in (1, 2))
    for name, words in one.inputs.items():
        assert two.inputs[name][: len(words)] == words


def test_every_lane_answers(mini: qkloom.Chip) -> None:
    expected = chip_vectors(mini.description, build_core(mini.description), 1).outputs["o"]
    assert expected.key_width == 1
    assert {word & 1 for word in expected.words} == {0, 1}
