import configparser
import re
from xml.etree import ElementTree

import pytest

from qkloom.platforms.vitis import vitis_files
from qkloom.rtl.control import kernel_registers

ARGUMENTS = kernel_registers(q_channels=1, k_channels=2, v_channels=2, o_channels=1).arguments
POINTERS = [register.name for register in ARGUMENTS if register.width == 64]
RIGHT = dict(
    top="u280_tiny",
    sources=["u280_tiny.v", "more/parts.v"],
    arguments=ARGUMENTS[::-1],
    ports={name: f"m{number % 2:02}_axi" for number, name in enumerate(POINTERS)},
    channels={"m00_axi": "HBM[0]", "m01_axi": "HBM[1:2]"},
    data_width=256,
    clock_mhz=299.6,
)
FILES = vitis_files(**RIGHT)

# UG1393, RTL Kernel XML File, Table 1: the attributes of each tag, and what each may be. The table
# of 2020.2 has no hwControlProtocol; XD099, Manually Creating the Kernel XML File, has it.
HEX = "0x[0-9A-Fa-f]+"
STRUCTURE = {
    "root": {"versionMajor": "1", "versionMinor": "6"},
    "kernel": {
        "name": r"\w+",
        "language": "ip_c",
        "vlnv": r"\w+:\w+:\w+:[\d.]+",
        "attributes": "",
        "preferredWorkGroupSizeMultiple": "0",
        "workGroupSize": "1",
        "interrupt": "true",
        "hwControlProtocol": "ap_ctrl_hs|ap_ctrl_chain|ap_ctrl_none|user_managed",
    },
    "ports": {},
    "port": {
        "name": r"\w+",
        "mode": "master|slave",
        "range": HEX,
        "dataWidth": "32|64|128|256|512",
        "portType": "addressable",
        "base": "0x0",
    },
    "args": {},
    "arg": {
        "name": r"\w+",
        "addressQualifier": "[0-4]",
        "id": r"\d+",
        "port": r"\w+",
        "size": HEX,
        "offset": HEX,
        "hostOffset": "0x0",
        "hostSize": HEX,
        "type": r"\w+\*?",
    },
}
CHILDREN = {"root": ["kernel"], "kernel": ["ports", "args"], "ports": ["port"], "args": ["arg"]}


class TestKernelXml:
    root = ElementTree.fromstring(FILES["vitis/kernel.xml"])

    def test_structure(self):
        for element in self.root.iter():
            assert element.attrib.keys() == STRUCTURE[element.tag].keys()
            for name, value in element.attrib.items():
                assert re.fullmatch(STRUCTURE[element.tag][name], value), (element.tag, name)
            children = [child.tag for child in element]
            assert list(dict.fromkeys(children)) == CHILDREN.get(element.tag, [])
        assert self.root.tag == "root"
        assert len(self.root.findall("kernel")) == 1

    def test_kernel(self):
        kernel = self.root.find("kernel")
        assert kernel.get("name") == "u280_tiny"
        assert kernel.get("vlnv") == "qkloom:kernel:u280_tiny:1.0"
        assert kernel.get("hwControlProtocol") == "ap_ctrl_chain"

    def test_ports(self):
        ports = [(p.get("name"), p.get("mode"), p.get("dataWidth")) for p in self.root.iter("port")]
        assert ports == [
            ("s_axi_control", "slave", "32"),
            ("m00_axi", "master", "256"),
            ("m01_axi", "master", "256"),
        ]
        assert [p.get("range") for p in self.root.iter("port")] == [
            "0x1000",
            *["0xFFFFFFFFFFFFFFFF"] * 2,
        ]

    def test_arguments_are_the_registers(self):
        found = {arg.get("name"): arg for arg in self.root.iter("arg")}
        assert list(found) == [register.name for register in ARGUMENTS]
        for number, register in enumerate(ARGUMENTS):
            arg = found[register.name]
            assert int(arg.get("offset"), 16) == register.offset
            assert int(arg.get("size"), 16) == int(arg.get("hostSize"), 16) == register.width // 8
            assert int(arg.get("id")) == number
            pointer = register.name in POINTERS
            assert arg.get("addressQualifier") == ("1" if pointer else "0")
            port = RIGHT["ports"][register.name] if pointer else "s_axi_control"
            assert arg.get("port") == port
        assert found["q_0"].get("type") == "void*"
        assert (found["q_start"].get("type"), found["n_q"].get("type")) == ("int", "uint")


class TestScript:
    buses = ("ap_clk", "ap_rst_n", "interrupt", "s_axi_control", "m00_axi", "m01_axi")

    def answers(self, **without):
        found = {
            f"ipx::get_bus_interfaces {bus} *": bus for bus in self.buses if bus not in without
        }
        return {
            "ipx::current_core": "core",
            "ipx::add_memory_map *": "map",
            "ipx::add_address_block *": "block",
            "ipx::add_register *": "register",
            "ipx::add_register_parameter *": "parameter",
            **found,
        }

    @pytest.fixture
    def folder(self, write):
        return write({**FILES, "u280_tiny.v": "", "more/parts.v": ""})

    def test_calls(self, folder, run_tcl):
        record = run_tcl(folder / "vitis/package_xo.tcl", answers=self.answers())
        assert not record.error
        assert record.printed.startswith("PASS: ")
        assert record.order(
            "create_project",
            "ipx::package_project",
            "ipx::save_core",
            "close_project",
            "package_xo",
        ) == [
            "create_project",
            "ipx::package_project",
            "ipx::save_core",
            "close_project",
            "package_xo",
        ]
        files = [call[-1] for call in record.of("add_files")]
        assert files == [str(folder / "u280_tiny.v"), str(folder / "more/parts.v")]
        assert record.of("create_project")[0][:3] == ["-force", "-part", "xcu280-fsvh2892-2L-e"]
        assert ["top", "u280_tiny", ""] in record.of("set_property")
        assert ["sdx_kernel", "true", "core"] in record.of("set_property")
        assert ["sdx_kernel_type", "rtl", "core"] in record.of("set_property")
        assert record.of("ipx::associate_bus_interfaces") == [
            ["-busif", "s_axi_control", "-clock", "ap_clk", "core"],
            ["-busif", "m00_axi", "-clock", "ap_clk", "core"],
            ["-busif", "m01_axi", "-clock", "ap_clk", "core"],
            ["-clock", "ap_clk", "-reset", "ap_rst_n", "core"],
        ]
        assert not record.of("ipx::infer_bus_interface")
        (call,) = record.of("package_xo")
        options = dict(zip(call[1::2], call[2::2], strict=True))
        assert call[0] == "-force"
        assert options["-kernel_name"] == "u280_tiny"
        assert options["-ctrl_protocol"] == "ap_ctrl_chain"
        assert options["-kernel_xml"] == str(folder / "vitis/kernel.xml")
        assert options["-xo_path"].endswith("/u280_tiny.xo")
        (project,) = record.of("ipx::package_project")
        assert options["-ip_directory"] == project[project.index("-root_dir") + 1]

    def test_registers(self, folder, run_tcl):
        record = run_tcl(folder / "vitis/package_xo.tcl", answers=self.answers())
        names = [call[1] for call in record.of("ipx::add_register")]
        assert names == ["CTRL", "GIER", "IP_IER", "IP_ISR", *(r.name for r in ARGUMENTS)]
        of_registers = [c for c in record.of("set_property") if c[-1] == "register"]
        offsets = [int(c[1], 16) for c in of_registers if c[0] == "address_offset"]
        sizes = [int(c[1]) for c in of_registers if c[0] == "size"]
        assert offsets == [0, 4, 8, 12, *(r.offset for r in ARGUMENTS)]
        assert sizes == [32] * 4 + [r.width for r in ARGUMENTS]
        values = [c[1] for c in record.of("set_property") if c[-1] == "parameter"]
        assert values == list(RIGHT["ports"].values())

    def test_missing_pins_are_inferred(self, folder, run_tcl):
        answers = self.answers(interrupt=True, ap_rst_n=True)
        record = run_tcl(folder / "vitis/package_xo.tcl", answers=answers)
        assert record.of("ipx::infer_bus_interface") == [
            ["ap_rst_n", "xilinx.com:signal:reset_rtl:1.0", "core"],
            ["interrupt", "xilinx.com:signal:interrupt_rtl:1.0", "core"],
        ]

    def test_missing_bus(self, folder, run_tcl):
        record = run_tcl(folder / "vitis/package_xo.tcl", answers=self.answers(m01_axi=True))
        assert record.error == (
            "Vivado must find the bus m01_axi among the pins of u280_tiny, and has not"
        )
        assert not record.of("package_xo")

    @pytest.mark.parametrize(
        ("version", "error"),
        [
            ("2020.1", "Vivado must be 2020.2 or newer, not 2020.1"),
            ("2019.2.1", "Vivado must be 2020.2 or newer, not 2019.2.1"),
            ("", "This script must be run by Vivado 2020.2 or newer, not by another Tcl"),
            ("2020.2", ""),
            ("2022.1_AR76780", ""),
            ("2024.2", ""),
        ],
    )
    def test_version(self, folder, run_tcl, version, error):
        script = folder / "vitis/package_xo.tcl"
        record = run_tcl(script, version=version, answers=self.answers())
        assert record.error.startswith(error)
        assert bool(record.error) == bool(error)
        assert bool(record.calls) == (not error)


class TestLink:
    def test_file(self):
        text = FILES["vitis/link.cfg"]
        parser = configparser.ConfigParser(strict=False)
        parser.read_string("[top]\n" + text)
        assert parser["top"]["kernel_frequency"] == "300"
        assert parser["connectivity"]["nk"] == "u280_tiny:1:u280_tiny_1"
        assert re.findall("^sp=(.*)$", text, re.MULTILINE) == [
            "u280_tiny_1.m00_axi:HBM[0]",
            "u280_tiny_1.m01_axi:HBM[1:2]",
        ]
        assert "slr=" not in text

    def test_slr(self):
        text = vitis_files(**RIGHT, slr="SLR0")["vitis/link.cfg"]
        assert "\nslr=u280_tiny_1:SLR0\n" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": "u280-tiny"}, "Kernel name must be an identifier, not 'u280-tiny'"),
        (
            {"ports": {"q_0": "m00_axi"}},
            f"Ports must be of the addresses {', '.join(POINTERS)}, not of q_0",
        ),
        (
            {"channels": {"m00_axi": "HBM[0]"}},
            "Channels must be of the ports m00_axi, m01_axi, not of m00_axi",
        ),
        (
            {"sources": ["a b.v"]},
            "A word must be without blanks and signs of Tcl, not 'a b.v'",
        ),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        vitis_files(**{**RIGHT, **change})
