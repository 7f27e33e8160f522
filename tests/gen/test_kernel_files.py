import re

from qkloom.gen.call import build_kernel
from qkloom.gen.chip import read_chip
from qkloom.gen.kernel_files import kernel_files


def test_of_a_card():
    chip = read_chip("u280")
    kernel = build_kernel(chip)
    files = kernel_files(chip, kernel)
    assert sorted(files) == [
        "registers.h",
        "registers.md",
        "vitis/kernel.xml",
        "vitis/link.cfg",
        "vitis/package_xo.tcl",
        "vivado/clock.xdc",
        "vivado/floorplan.xdc",
        "vivado/implement.tcl",
    ]
    for number in range(16):
        assert f"sp=u280_1.m{number:02}_axi:HBM[{number}]" in files["vitis/link.cfg"].splitlines()
    assert "-filter {NAME =~ */sll_*/q_reg*}" in files["vivado/floorplan.xdc"]
    assert kernel.parameters["crossings"]
    for register in kernel.arguments:
        assert f'name="{register.name}"' in files["vitis/kernel.xml"]
    # A third of the lanes on each die.
    assert files["vivado/floorplan.xdc"].count("engine/core/lane_") == 12
    assert (
        "add_cells_to_pblock pblock_SLR2 [get_cells {engine/core/lane_11}]"
        in (files["vivado/floorplan.xdc"])
    )


def test_bench_comes_with_a_script():
    chip = read_chip("u280-tiny")
    files = kernel_files(chip, build_kernel(chip), has_bench=True)
    assert re.search(r"axi.sv\s+testbench.sv", files["vivado/simulate.tcl"])
    # Two lanes stay on one die.
    assert "pblock" not in files["vivado/floorplan.xdc"]
    assert "crossings" not in chip.kernel_parameters


def test_of_no_card():
    chip = read_chip("u280-tiny").replace(target="generic", lanes=[{"matrix": "plain", "n": 1}])
    assert sorted(kernel_files(chip, build_kernel(chip))) == ["registers.h", "registers.md"]
