"""Real synthesis of small units."""

import json
from pathlib import Path

import pytest

from qkloom.gen import synthesis
from qkloom.gen.synthesis import synthesize
from qkloom.gen.synthesis.netlist import Cell, Module, Netlist
from qkloom.gen.synthesis.report import describe, tabulate
from qkloom.gen.synthesis.timing import analyze
from qkloom.gen.units import find_unit
from qkloom.tb.engines.cache import Cache
from qkloom.tb.errors import ToolError

HERE = Path(__file__).parent
ADDER = {"width": "8", "n": "3"}
MATRIX = {"rows": "4", "cols": "4"}


@pytest.fixture(scope="module")
def made(require, tmp_path_factory):
    require("yosys")
    cache = Cache(tmp_path_factory.mktemp("cache"))

    def synthesized(unit, options, **more):
        return synthesize(find_unit(unit).build(options), cache=cache, **more)

    return synthesized


def flattened(netlist):
    """Return the same netlist as one module."""
    cells, names = [], {}
    numbers = iter(range(2, 1 << 60))

    def place(name, ports, prefix):
        module, nets = netlist.modules[name], dict(ports)

        def net(bit):
            if isinstance(bit, str):
                return bit
            if bit not in nets:
                nets[bit] = next(numbers)
            names.setdefault(nets[bit], prefix + module.net_names.get(bit, "$"))
            return nets[bit]

        for cell in module.cells:
            pins = {port: [net(bit) for bit in bits] for port, bits in cell.pins.items()}
            if cell.type in netlist.modules:
                inner = netlist.modules[cell.type]
                known = {}
                for port, bits in {**inner.inputs, **inner.outputs}.items():
                    known |= dict(zip(bits, pins.get(port, []), strict=False))
                known = {bit: mine for bit, mine in known.items() if not isinstance(bit, str)}
                place(cell.type, known, f"{prefix}{cell.name}.")
            else:
                path = prefix + cell.name
                cells.append(Cell(path, cell.type, pins, cell.outputs, cell.parameters))
        return net

    net = place(netlist.top, {}, "")
    top = netlist.modules[netlist.top]
    inputs, outputs = (
        {port: [net(bit) for bit in bits] for port, bits in ports.items()}
        for ports in (top.inputs, top.outputs)
    )
    return Netlist("flat", {"flat": Module("flat", inputs, outputs, cells, names)})


@pytest.fixture(scope="module")
def matrix(made):
    return made("matrix", MATRIX)


class TestMatrix:
    def test_counts(self, matrix):
        assert matrix.macs == 16
        assert matrix.total["dsp"] == 16
        assert matrix.per_mac["dsp"] == 1
        assert matrix.total["uram"] == matrix.total["bram36"] == 0
        assert 0 < matrix.total["lutram"] < matrix.total["lut"]
        assert matrix.share_of_card["dsp"] == 16 / 9024
        assert matrix.share_of_user["dsp"] == 16 / 8490

    def test_blocks(self, matrix):
        elements = next(block for block in matrix.blocks if block.name.startswith("element_"))
        assert elements.n == 16
        assert elements.counts["dsp"] == 16
        for column, total in matrix.total.items():
            assert total == sum(b.counts[column] for b in matrix.blocks if b.depth == 0)

    def test_notes(self, matrix):
        assert [note.split(":")[0] for note in matrix.notes] == ["LUT", "CARRY8 [estimate]", "DSP"]

    def test_json(self, matrix):
        facts = json.loads(json.dumps(matrix.as_dict()))
        assert set(facts["total"]) == {"lut", "lutram", "ff", "carry8", "dsp", "bram36", "uram"}
        assert facts["total"] == matrix.total
        assert facts["blocks"][0].keys() > facts["total"].keys()
        assert (facts["target"], facts["yosys"][:5]) == ("xcup", "0.70.")
        assert facts["timing_proxy"]["rules"] == {"luts": 4, "carry_bits": 32, "fan_out": 128}
        assert "vivado" not in facts

    def test_table(self, matrix):
        headers, rows = tabulate(matrix)
        assert headers == ["", "n", "LUT", "LUTRAM", "FF", "CARRY8", "DSP", "BRAM", "URAM"]
        titles = [row[0] for row in rows]
        assert titles[-4:] == [
            "total",
            "per MAC, of 16",
            "share of the U280",
            "share of the user's part",
        ]
        assert rows[-1][2:] == [
            f"{matrix.total['lut'] / 1163520:.2%}",
            "-",
            "-",
            "-",
            "0.19%",
            "-",
            "-",
        ]
        lines = list(describe(matrix))
        assert lines[0].startswith(
            "matrix_unit_rows4_cols4_streami8_stationaryi8 for xcup, Yosys 0.70"
        )
        assert any("1 unregistered DSP (rule: at most 4 and 32) BROKEN" in line for line in lines)

    def test_timing_equals_that_of_one_module(self, made, monkeypatch):
        netlists = []

        def noted(netlist):
            netlists.append(netlist)
            return analyze(netlist)

        monkeypatch.setattr(synthesis, "analyze", noted)
        parts = made("matrix", MATRIX).timing
        (netlist,) = netlists
        whole = analyze(flattened(netlist))
        assert whole.paths.keys() == parts.paths.keys()
        for kind, path in whole.paths.items():
            same = parts.paths[kind]
            assert (path.luts, path.carry_bits, path.dsps) == (
                (same.luts, same.carry_bits, same.dsps)
            )
        assert whole.fan_out == parts.fan_out
        assert whole.reset_fan_out == parts.reset_fan_out
        assert whole.dsp_registers == parts.dsp_registers

    def test_again_from_the_cache(self, made, matrix, monkeypatch):
        monkeypatch.setattr(synthesis.run, "_run_batch", None)
        assert made("matrix", MATRIX).total == matrix.total

    def test_beside_vivado(self, made):
        both = made("matrix", MATRIX, vivado=HERE / "utilization.rpt")
        assert both.as_dict()["vivado"]["lut"] == 1200
        rows = {row[0]: row for row in tabulate(both)[1]}
        assert rows["| Vivado"][2:] == ["1,200", "300", "2,500", "31", "12", "4.50", "2"]
        assert rows["| Vivado / Yosys"][6] == "0.75"
        assert rows["| Vivado / Yosys"][7] == "-"


class TestTargets:
    def test_structure_of_ultrascale(self, made):
        adder = made("ternary-adder", ADDER)
        assert (adder.total["lut"], adder.total["carry8"], adder.macs) == (8, 1, None)
        assert adder.per_mac is None
        assert [note.split(":")[0] for note in adder.notes] == ["LUT"]
        assert adder.timing.paths.keys() == {"through"}

    @pytest.mark.parametrize("target", ["xc7", "ecp5", "ice40"])
    def test_twin_elsewhere(self, made, target):
        adder = made("ternary-adder", ADDER, target=target)
        assert adder.total["lut"] + 8 * adder.total["carry8"] > 8
        assert adder.share_of_card is None
        note = f"{target} has no structure of TernaryAdder: what was synthesized is the plain twin"
        assert note in adder.notes
        assert (adder.timing is None) == (target != "xc7")

    def test_memories_and_registers(self, made):
        queue = {"shape": "8", "depth": "16"}
        for target in ("ecp5", "ice40"):
            total = made("queue", queue, target=target).total
            assert total["ff"] > 0
            assert total["lutram"] + total["bram36"] + total["ff"] // 128 > 0

    def test_standard_cells(self, made):
        adder = made("ternary-adder", ADDER, target=f"liberty:{HERE / 'cells.lib'}")
        assert adder.columns == ("cells", "area")
        assert adder.total["cells"] < adder.total["area"] < 1.5 * adder.total["cells"]
        assert tabulate(adder)[0] == ["", "n", "cells", "area"]

    def test_library_without_registers(self, made, tmp_path):
        poor = tmp_path / "poor.lib"
        text = (HERE / "cells.lib").read_text()
        poor.write_text(text[: text.index("  cell (DFF)")] + "}\n")
        message = (
            r"^Yosys failed: ERROR: FF .* D flip-flops are not supported; a Liberty file needs"
        )
        with pytest.raises(ToolError, match=message):
            made("queue", {"shape": "1", "depth": "2"}, target=f"liberty:{poor}")


def test_a_cache_of_few_slots_and_many_blocks(made):
    """Of a table that is read and written at one address, Yosys makes cells that do not exist."""
    options = {"policy": "next-use", "hot": "0", "cold": "64", "lookahead": "4", "blocks": "1024"}
    found = made("cache-control", options | {"heads": "8", "windows": "64"})
    assert found.total["bram36"] > 0
