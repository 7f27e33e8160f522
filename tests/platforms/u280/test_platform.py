import re

import pytest
from amaranth.hdl import Elaboratable, Module, Signal, unsigned
from amaranth.lib import io
from amaranth.lib.memory import Memory

from qkloom.platforms.u280 import AlveoU280Platform
from qkloom.platforms.u280.platform import memory_style
from qkloom.tb.yosys import find_full_yosys


class Design(Elaboratable):
    """A memory, read one cycle behind a counter; with HBM it drives the pin itself."""

    def __init__(self, *, has_hbm=False, transparent=False, attrs=None, depth=4096):
        self.has_hbm, self.transparent, self.attrs = has_hbm, transparent, attrs or {}
        self.depth = depth

    def elaborate(self, platform):
        m = Module()
        memory = Memory(shape=unsigned(72), depth=self.depth, init=[], attrs=self.attrs)
        m.submodules.memory = memory
        write = memory.write_port()
        read = memory.read_port(transparent_for=[write] if self.transparent else [])
        count = Signal(12)
        m.d.sync += count.eq(count + read.data[0] + 1)
        m.d.comb += [write.addr.eq(count), write.data.eq(count), write.en.eq(1)]
        m.d.comb += read.addr.eq(count + 5)
        if self.has_hbm:
            pin = io.Buffer("o", platform.request("hbm_cattrip", dir="-"))
            m.submodules.hot = pin
            m.d.comb += pin.o.eq(count[3])
        return m


def files(design=None, **overrides):
    plan = AlveoU280Platform().build(design or Design(), do_build=False, **overrides)
    text = {name: content for name, content in plan.files.items()}
    return {n: t.decode() if isinstance(t, bytes) else t for n, t in text.items()}


@pytest.fixture(scope="module")
def plain():
    return files()


@pytest.fixture(scope="module")
def with_hbm():
    return files(Design(has_hbm=True), add_constraints="# mine")


@pytest.fixture
def driver(require, write):
    """What the output buffer of the pin gets, by its ports, in the flattened design."""
    require("yosys")

    def find(verilog):
        folder = write({"top.v": verilog})
        steps = ["read_verilog top.v", "hierarchy -top top", "proc", "flatten", "opt_clean"]
        find_full_yosys().run([*steps, "write_verilog -noattr flat.v"], cwd=folder, timeout=300)
        flat = (folder / "flat.v").read_text()
        (ports,) = re.findall(r"OBUFT \S+\s+\(([^;]*hbm_cattrip_0__io[^;]*)\);", flat)
        return dict(re.findall(r"\.([IT])\(([^)]*)\)", ports))

    return find


class TestBuild:
    def test_script(self, plain):
        assert "-part xcu280-fsvh2892-2L-e" in plain["top.tcl"]
        assert "synth_design -top top" in plain["top.tcl"]

    @pytest.mark.parametrize("which", ["plain", "with_hbm"])
    def test_constraints(self, which, request):
        text = request.getfixturevalue(which)["top.xdc"]
        for pin, port in (
            ("BJ43", "sysclk_0__p"),
            ("BJ44", "sysclk_0__n"),
            ("D32", "hbm_cattrip_0__io"),
        ):
            assert f'set_property LOC {pin} [get_ports "{port}"]' in text
        assert re.search(r"create_clock .* -period 10\.0 ", text)
        assert re.search('IOSTANDARD "?LVCMOS18"? .get_ports "hbm_cattrip_0__io"', text)
        assert "set_property CONFIG_VOLTAGE 1.8 [current_design]" in text
        assert ("# mine" in text) == (which == "with_hbm")

    def test_constraints_are_tcl(self, plain, write, run_tcl):
        folder = write({"top.xdc": plain["top.xdc"]})
        record = run_tcl(folder / "top.xdc")
        assert not record.error
        assert [call[1] for call in record.of("set_property") if call[0] == "LOC"] == [
            "D32",
            "BJ43",
            "BJ44",
        ]

    def test_cattrip_is_low(self, driver):
        verilog = files(Design(depth=4))["top.v"]
        assert driver(verilog) == {"I": "1'h0", "T": "1'h0"}

    def test_cattrip_is_the_designs(self, driver):
        ports = driver(files(Design(has_hbm=True, depth=4))["top.v"])
        assert ports["I"] == "\\design.count [3]"
        assert ports["T"] == "1'h0"

    def test_memory(self, plain):
        assert '(* ram_style = "ultra" *)' in plain["top.v"]

    def test_memory_as_asked(self):
        asked = files(Design(attrs={"ram_style": "block"}))
        assert '(* ram_style = "block" *)' in asked["top.v"]

    def test_transparent(self):
        with pytest.raises(ValueError, match=r"^Read ports must not be transparent, as Vivado"):
            files(Design(transparent=True))
        meant = Design(transparent=True, attrs={"rw_addr_collision": "yes"})
        assert '(* rw_addr_collision = "yes" *)' in files(meant)["top.v"]


@pytest.mark.parametrize(
    ("width", "depth", "init", "domains", "style"),
    [
        (72, 4096, [], ("sync", "sync"), "ultra"),
        (72, 2048, [], ("sync", "sync"), "ultra"),
        (71, 2048, [], ("sync", "sync"), "block"),
        (144, 1024, [], ("sync", "sync"), "block"),
        (72, 4096, [0, 1], ("sync", "sync"), "block"),
        (72, 4096, [], ("sync", "fast"), "block"),
        (72, 4096, [], ("sync", "sync", "sync"), "block"),
        (72, 4096, [], ("sync", "comb"), "distributed"),
        (32, 128, [], ("sync", "sync"), "block"),
        (31, 128, [], ("sync", "sync"), None),
    ],
)
def test_style(width, depth, init, domains, style):
    memory = Memory(shape=unsigned(width), depth=depth, init=init)
    memory.write_port(domain=domains[0])
    for domain in domains[1:]:
        memory.read_port(domain=domain)
    assert memory_style(memory) == style
