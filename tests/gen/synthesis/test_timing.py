"""Small circuits by hand: nets are numbers, and their names letters."""

import pytest

from qkloom.gen.synthesis.netlist import Cell, Module, Netlist
from qkloom.gen.synthesis.timing import analyze
from qkloom.tb.errors import ToolError

OUTPUTS = frozenset({"O", "O5", "O6", "CO", "Q", "Q15", "P", "PCOUT", "DOA", "DOB", "o", "p"})


def cell(name, kind, parameters=(), **pins):
    pins = {port: net if isinstance(net, list) else [net] for port, net in pins.items()}
    return Cell(name, kind, pins, OUTPUTS & set(pins), dict(parameters))


def register(name, d, q):
    return cell(name, "FDRE", C=1, CE="1", R="0", D=d, Q=q)


def lut(name, inputs, o):
    pins = {f"I{index}": net for index, net in enumerate(inputs)}
    return cell(name, f"LUT{len(inputs)}", O=o, **pins)


def module(name, cells, inputs=(), outputs=()):
    numbers = {bit for cell in cells for bits in cell.pins.values() for bit in bits}
    names = {bit: f"n{bit}" for bit in numbers if not isinstance(bit, str)}
    return Module(name, dict(inputs), dict(outputs), cells, names)


def look(*modules):
    return analyze(Netlist(modules[0].name, {module.name: module for module in modules}))


def length(path):
    return path.luts, path.carry_bits, path.dsps


class TestPaths:
    def test_luts_between_registers(self):
        timing = look(
            module(
                "top",
                [
                    register("a", "0", 2),
                    register("b", "0", 3),
                    lut("x", [2, 3], 4),
                    lut("y", [4, 2], 5),
                    register("c", 5, 6),
                    register("d", 2, 7),
                ],
                inputs={"clk": [1]},
            )
        )
        path = timing.paths["registers"]
        assert length(path) == (2, 0, 0)
        assert path.names[-3:] == ["n4", "n5", "n6"]
        assert path.names[0] in ("n2", "n3")
        assert list(timing.paths) == ["registers"]
        assert path.is_short
        assert timing.is_kept
        assert (timing.register_fan_out, timing.register_fan_out_net) == (3, "n2")
        assert timing.fan_out == 1

    @pytest.mark.parametrize(("n", "is_short"), [(4, True), (5, False)])
    def test_rule_of_luts(self, n, is_short):
        luts = [lut(f"l{k}", [10 + k], 11 + k) for k in range(n)]
        timing = look(module("top", [register("a", "0", 10), *luts, register("b", 10 + n, 30)]))
        assert length(timing.paths["registers"]) == (n, 0, 0)
        assert timing.is_kept == is_short

    @pytest.mark.parametrize(("width", "is_short"), [(32, True), (40, False)])
    def test_rule_of_carries(self, width, is_short):
        cells, carry = [register("a", "0", 2)], "0"
        for start in range(0, width, 8):
            s = [2 if start == 0 else 3] + [3] * 7
            o, co = (list(range(base + start, base + start + 8)) for base in (100, 200))
            cells.append(cell(f"c{start}", "CARRY8", CI=carry, S=s, DI=["0"] * 8, O=o, CO=co))
            carry = co[7]
        cells.append(register("b", 100 + width - 1, 4))
        timing = look(module("top", cells))
        assert length(timing.paths["registers"]) == (0, width, 0)
        assert timing.is_kept == is_short

    def test_the_worst_breaks_the_rule(self):
        """Five LUTs are worse than four and a long carry, though that path may be slower."""
        luts = [lut(f"l{k}", [10 + k], 11 + k) for k in range(5)]
        o = list(range(50, 58))
        carry = cell("c", "CARRY8", CI="0", S=[14] + ["0"] * 7, DI=["0"] * 8, O=o)
        ends = [register("b", 15, 30), register("c", 57, 31)]
        timing = look(module("top", [register("a", "0", 10), *luts, carry, *ends]))
        assert length(timing.paths["registers"]) == (5, 0, 0)

    def test_pair_of_luts_depends_on_what_it_uses(self):
        """O5 = I1, O6 = I0: a chain through O5 and I0 ends at once."""
        o6, o5 = 0xAAAAAAAA, 0xCCCCCCCC
        init = {"INIT": f"{o6 << 32 | o5:064b}"}
        rest = dict.fromkeys(["I2", "I3", "I4"], "0")
        cells = [register("a", "0", 2)]
        for k in range(6):
            pins = {"I0": 10 + k, "I1": 2, "I5": "1", "O5": 11 + k, "O6": 30 + k}
            cells.append(cell(f"l{k}", "LUT6_2", init, **pins, **rest))
        timing = look(module("top", [*cells, register("b", 35, 50)]))
        assert length(timing.paths["registers"]) == (2, 0, 0)

    def test_lut_memory_is_read_at_once(self):
        ram = cell("ram", "RAM32M16", ADDRA=2, DIA=3, WCLK=1, WE="1", DOA=4, DOB=5, ADDRB=6)
        ends = [lut("x", [4], 7), register("c", 7, 8), register("d", 5, 9)]
        starts = [register("a", "0", 2), lut("y", [2], 6), lut("z", [2], 3)]
        timing = look(module("top", [*starts, ram, *ends]))
        assert length(timing.paths["registers"]) == (2, 0, 0)

    def test_shift_register_is_read_at_once(self):
        shift = cell("s", "SRL16E", A0=2, D=3, CE="1", CLK=1, Q=4, Q15=5)
        ends = [lut("x", [4], 6), register("b", 6, 7), lut("y", [5], 8), register("c", 8, 9)]
        timing = look(module("top", [register("a", "0", 2), shift, *ends]))
        assert length(timing.paths["registers"]) == (2, 0, 0)

    def test_block_memory_has_registers(self):
        ram = cell("ram", "RAMB36E2", ADDRARDADDR=3, CLKARDCLK=1, DOA=4)
        cells = [register("a", "0", 2), lut("x", [2], 3), ram, lut("y", [4], 5)]
        timing = look(module("top", [*cells, register("b", 5, 6)]))
        assert length(timing.paths["registers"]) == (1, 0, 0)

    def test_ports(self):
        cells = [lut("x", [2], 3), register("a", 3, 4), lut("y", [4], 5), lut("z", [5, 2], 6)]
        timing = look(
            module("top", cells, inputs={"clk": [1], "i": [2]}, outputs={"o": [5], "p": [6, "0"]})
        )
        assert set(timing.paths) == {"inputs", "outputs", "through"}
        assert timing.paths["inputs"].names == ["i", "n3", "n4"]
        assert timing.paths["outputs"].names == ["n4", "n5", "n6", "p[0]"]
        assert length(timing.paths["outputs"]) == (2, 0, 0)
        assert timing.paths["through"].names == ["i", "n6", "p[0]"]

    def test_loop(self):
        cells = [lut("x", [2, 4], 3), lut("y", [3], 4)]
        message = r"^top has a combinational loop through n3: break it by a register$"
        with pytest.raises(ToolError, match=message):
            look(module("top", cells, inputs={"i": [2]}))


class TestHierarchy:
    def test_path_through_three_modules(self):
        source = module(
            "source", [register("r", "0", 2), lut("x", [2], 3)], outputs={"o": [3], "p": [2]}
        )
        middle = module(
            "middle", [lut("x", [2], 3), lut("y", [3], 4)], inputs={"i": [2]}, outputs={"o": [4]}
        )
        sink = module("sink", [lut("x", [2], 3), register("r", 3, 4)], inputs={"i": [2]})
        top = module(
            "top",
            [
                cell("a", "source", o=2, p=3),
                cell("b", "middle", i=2, o=4),
                cell("c", "sink", i=4),
                cell("d", "sink", i=3),
            ],
        )
        timing = look(top, source, middle, sink)
        path = timing.paths["registers"]
        assert length(path) == (4, 0, 0)
        assert path.names == ["a.n2", "a.n3", "n2", "b.n3", "b.n4", "n4", "c.n3", "c.n4"]

    def test_equals_the_same_flattened(self):
        """Four stages in a row, each a LUT between two registers with a bypass."""
        stage = module(
            "stage",
            [lut("x", [2, 3], 4), register("r", 4, 5), lut("y", [5, 2], 6)],
            inputs={"i": [2], "j": [3]},
            outputs={"o": [6]},
        )
        chained = [cell(f"s{k}", "stage", i=10 + k, j=20, o=11 + k) for k in range(4)]
        ends = [register("a", "0", 10), register("b", 14, 15), register("c", "0", 20)]
        flat = []
        for k in range(4):
            flat += [
                lut(f"x{k}", [10 + k, 20], 30 + k),
                register(f"r{k}", 30 + k, 40 + k),
                lut(f"y{k}", [40 + k, 10 + k], 11 + k),
            ]
        whole = look(module("top", [*ends, *flat]))
        parts = look(module("top", [*ends, *chained]), stage)
        assert length(whole.paths["registers"]) == length(parts.paths["registers"]) == (4, 0, 0)
        assert whole.fan_out == parts.fan_out == 2
        assert whole.register_fan_out == parts.register_fan_out == 4

    def test_worst_path_within_a_child(self):
        inner = module("inner", [register("a", 3, 2), lut("x", [2], 3)])
        timing = look(module("top", [cell("u", "inner")]), inner)
        assert timing.paths["registers"].names == ["u.n2", "u.n3", "u.n2"]

    def test_wire_through_a_module(self):
        """A module that passes a net on makes one net of two."""
        wire = module("wire", [lut("x", [2], 3)], inputs={"i": [2]}, outputs={"o": [2]})
        readers = [lut(f"l{k}", [3], 10 + k) for k in range(7)]
        timing = look(
            module("top", [register("a", "0", 2), cell("w", "wire", i=2, o=3), *readers]), wire
        )
        assert timing.register_fan_out == 8

    def test_fan_out_adds_up(self):
        readers = [lut(f"l{k}", [2], 10 + k) for k in range(50)]
        many = module("many", readers, inputs={"i": [2]})
        users = [cell(f"u{k}", "many", i=2) for k in range(3)]
        timing = look(module("top", [register("a", "0", 2), *users]), many)
        assert (timing.register_fan_out, timing.register_fan_out_net) == (150, "n2")
        assert timing.fan_out == 0
        assert timing.is_kept
        timing = look(module("top", [register("a", "0", 3), lut("x", [3], 2), *users]), many)
        assert (timing.fan_out, timing.fan_out_net) == (150, "n2")
        assert not timing.is_kept

    def test_register_within_a_module_is_one_outside(self):
        source = module("source", [register("a", "0", 2)], outputs={"o": [2]})
        readers = [lut(f"l{k}", [5], 10 + k) for k in range(200)]
        timing = look(module("top", [cell("u", "source", o=5), *readers]), source)
        assert (timing.register_fan_out, timing.register_fan_out_net) == (200, "n5")
        source = module("source", [register("a", "0", 2), lut("x", [2], 3)], outputs={"o": [3]})
        timing = look(module("top", [cell("u", "source", o=5), *readers]), source)
        assert (timing.fan_out, timing.fan_out_net) == (200, "n5")

    def test_output_that_is_used_inside_too(self):
        readers = [lut(f"l{k}", [2], 10 + k) for k in range(3)]
        inner = module("inner", [register("a", "0", 2), *readers], outputs={"o": [2]})
        timing = look(module("top", [cell("u", "inner", o=5), lut("x", [5], 6)]), inner)
        assert timing.register_fan_out == 4

    def test_reset_is_told_apart(self):
        cells = [cell(f"r{k}", "FDRE", C=1, CE="1", R=2, D="0", Q=10 + k) for k in range(200)]
        timing = look(module("top", cells, inputs={"clk": [1], "rst": [2]}))
        assert timing.reset_fan_out == 200
        assert timing.fan_out == 0
        assert timing.is_kept

    def test_inputs_are_told_apart(self):
        readers = [lut(f"l{k}", [2], 10 + k) for k in range(200)]
        timing = look(module("top", readers, inputs={"i": [2, 3]}))
        assert (timing.input_fan_out, timing.input_fan_out_net) == (200, "i[0]")
        assert timing.fan_out == 0
        assert timing.is_kept


class TestDsp:
    REGISTERS = {name: "1" for name in ("AREG", "BREG", "ADREG", "DREG", "MREG", "PREG")}

    def dsp(self, *, pins=None, **parameters):
        words = {"AMULTSEL": "AD", **self.REGISTERS, **parameters}
        cells = [register("a", "0", 2), lut("x", [2], 3), register("b", 9, 10), lut("y", [5], 9)]
        pins = {"A": 3, "B": 2, "D": 2, **(pins or {})}
        return look(module("top", [*cells, cell("d", "DSP48E2", words, CLK=1, P=5, **pins)]))

    def test_registered(self):
        timing = self.dsp()
        assert length(timing.paths["registers"]) == (1, 0, 0)
        kind = "AREG 1, BREG 1, ADREG 1, DREG 1, MREG 1, PREG 1"
        assert timing.dsp_registers == {kind: 1}
        assert timing.unregistered_dsps == 0
        assert timing.is_kept

    def test_without_preadder(self):
        timing = self.dsp(AMULTSEL="A", ADREG="0", DREG="0")
        assert timing.dsp_registers == {"AREG 1, BREG 1, MREG 1, PREG 1": 1}
        assert timing.unregistered_dsps == 0

    def test_a_register_is_missing(self):
        timing = self.dsp(PREG="0")
        assert length(timing.paths["registers"]) == (1, 0, 0)
        assert timing.unregistered_dsps == 1
        assert not timing.is_kept

    def test_none_at_all(self):
        timing = self.dsp(**dict.fromkeys(self.REGISTERS, "0"))
        assert length(timing.paths["registers"]) == (2, 0, 1)
        assert not timing.paths["registers"].is_short

    def test_no_register_of_a_constant(self):
        timing = self.dsp(pins={"A": ["0", "1"], "ACIN": ["0"]}, AREG="0")
        kind = "BREG 1, ADREG 1, DREG 1, MREG 1, PREG 1, no AREG as its input is constant"
        assert timing.dsp_registers == {kind: 1}
        assert timing.is_kept

    @pytest.mark.parametrize(
        ("pins", "parameters"),
        [
            ({"A": ["0", 3]}, {"AREG": "0"}),
            ({"A": "0", "ACIN": 3}, {"AREG": "0"}),
            ({"A": "0"}, {"AREG": "0", "ADREG": "0"}),
            ({"D": "0"}, {"ADREG": "0"}),
            ({"A": "0"}, {"DREG": "0"}),
        ],
    )
    def test_register_of_data_next_to_a_constant(self, pins, parameters):
        assert self.dsp(pins=pins, **parameters).unregistered_dsps == 1

    @pytest.mark.parametrize(("depth", "unregistered"), [("1", 0), ("0", 1)])
    def test_register_of_c(self, depth, unregistered):
        timing = self.dsp(pins={"C": 3}, CREG=depth)
        kind = f"AREG 1, BREG 1, CREG {depth}, ADREG 1, DREG 1, MREG 1, PREG 1"
        assert timing.dsp_registers == {kind: 1}
        assert timing.unregistered_dsps == unregistered

    def test_no_register_of_c_when_it_is_constant(self):
        timing = self.dsp(pins={"C": ["0", "1"]}, CREG="0")
        assert timing.dsp_registers == self.dsp().dsp_registers
        assert timing.is_kept

    def test_counted_as_often_as_used(self):
        inner = module("inner", [cell("d", "DSP48E2", self.REGISTERS, A=2, B=3, P=5)])
        timing = look(module("top", [cell(f"u{k}", "inner") for k in range(3)]), inner)
        assert timing.dsp_registers == {"AREG 1, BREG 1, MREG 1, PREG 1": 3}
