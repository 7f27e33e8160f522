"""The Alveo U280: its device, clocks, memories, and the pin that must never float."""

from typing import Any

from amaranth.build import Attrs, Clock, DiffPairs, Pins, Resource
from amaranth.hdl import Elaboratable, Fragment, MemoryInstance, Module, Shape
from amaranth.lib import io
from amaranth.lib.memory import Memory
from amaranth.vendor import XilinxPlatform

__all__ = ["AlveoU280Platform", "memory_style"]

ULTRA_BITS, ULTRA_DEPTH = 4096 * 72, 4096
"""Of one UltraRAM (UG573): what fills less than half of one goes into block RAM."""

BLOCK_BITS = 4096
"""Below that, Vivado chooses between block RAM and LUTs by itself."""

_CONSTRAINTS = """\
set_property CONFIG_VOLTAGE 1.8 [current_design]
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]"""


class AlveoU280Platform(XilinxPlatform):
    """The card as it stands in the machine; build for it with Amaranth's ``build``.

    Pins and clocks are those of the public constraints of the card (AMD, ``alveo-u280-xdc.zip``,
    which projects such as bsc-loca/100gb-ethernet carry). Memory, PCIe and the network are IP of
    Vivado and need a script.

    ``hbm_cattrip`` tells the card's controller that the HBM is too hot, and the controller then
    takes the power away. A pin that nobody drives is pulled high, "which can result in the card
    being unusable", as these constraints say. So it is driven low in every design that does not
    request it; one with HBM has to request it, and to drive it by both ``DRAM_x_STAT_CATTRIP``.

    Memories say of which kind they are, see :func:`memory_style`.
    """

    device = "xcu280"
    package = "fsvh2892"
    speed = "2L-e"
    default_clk = "sysclk"
    resources = [
        Resource(
            "sysclk",
            0,
            DiffPairs("BJ43", "BJ44", dir="i"),
            Clock(100e6),
            Attrs(IOSTANDARD="LVDS"),
        ),
        Resource(
            "sysclk",
            1,
            DiffPairs("BH6", "BJ6", dir="i"),
            Clock(100e6),
            Attrs(IOSTANDARD="LVDS"),
        ),
        Resource(
            "hbm_cattrip",
            0,
            Pins("D32", dir="o"),
            Attrs(IOSTANDARD="LVCMOS18", PULLTYPE="PULLDOWN"),
        ),
    ]
    connectors: list[Any] = []

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._cattrip_is_driven = False

    def request(self, name: str, number: int = 0, **kwargs: Any) -> Any:
        """Return a pin, and note who drives the one that must be driven."""
        pin = super().request(name, number, **kwargs)
        self._cattrip_is_driven |= name == "hbm_cattrip"
        return pin

    def prepare(self, elaboratable: Any, name: str = "top", **kwargs: Any) -> Any:
        """Prepare the design, with ``hbm_cattrip`` driven."""
        return super().prepare(_Safe(elaboratable), name, **kwargs)

    def toolchain_prepare(self, fragment: Any, name: str, **kwargs: Any) -> Any:
        """Prepare the scripts, with what the card's configuration needs."""
        own = "\n".join([_CONSTRAINTS, kwargs.pop("add_constraints", "")]).strip()
        return super().toolchain_prepare(fragment, name, add_constraints=own, **kwargs)

    def get_memory(self, memory: Memory) -> MemoryInstance:
        """Return what becomes of a memory.

        Raises
        ------
        ValueError
            When a port is transparent, and ``rw_addr_collision`` does not say that it is meant:
            Vivado infers such memories wrongly (amaranth-lang/amaranth#1589).
        """
        attrs = dict(memory.attrs)
        transparent = any(port.transparent_for for port in memory.read_ports)
        if transparent and attrs.get("rw_addr_collision") != "yes":
            raise ValueError(
                "Read ports must not be transparent, as Vivado infers them wrongly; read a cycle "
                "later, or give the memory the attribute rw_addr_collision=yes"
            )
        style = memory_style(memory)
        if style is not None:
            attrs.setdefault("ram_style", style)
        instance = MemoryInstance(data=memory.data, attrs=attrs)
        written = {
            port: instance.write_port(
                domain=port.domain, addr=port.addr, data=port.data, en=port.en
            )
            for port in memory.write_ports
        }
        for port in memory.read_ports:
            instance.read_port(
                domain=port.domain,
                addr=port.addr,
                data=port.data,
                en=port.en,
                transparent_for=tuple(written[other] for other in port.transparent_for),
            )
        return instance


def memory_style(memory: Memory) -> str | None:
    """Return the ``ram_style`` of a memory (UG901), or ``None`` if Vivado is to choose.

    LUTs where it is read without a clock; UltraRAM where it fills at least half of one, has no
    initial contents, one clock and at most two ports, as UltraRAM does (UG573); else block RAM.
    """
    ports = [*memory.read_ports, *memory.write_ports]
    if any(port.domain == "comb" for port in memory.read_ports):
        return "distributed"
    bits = memory.depth * Shape.cast(memory.shape).width
    is_empty = all(not row for row in memory.data.init._raw)
    one_clock = len({port.domain for port in ports}) == 1
    fills_ultra = 2 * bits >= ULTRA_BITS and 2 * memory.depth >= ULTRA_DEPTH
    if fills_ultra and is_empty and one_clock and len(ports) <= 2:
        return "ultra"
    return "block" if bits >= BLOCK_BITS else None


class _Safe(Elaboratable):
    """A design and, unless it does so itself, what drives ``hbm_cattrip`` low."""

    def __init__(self, design: Any) -> None:
        self._design = design

    def elaborate(self, platform: AlveoU280Platform) -> Module:
        m = Module()
        # Elaborated here and now, so that its requests are known below.
        m.submodules.design = Fragment.get(self._design, platform)
        if not platform._cattrip_is_driven:
            pin = platform.request("hbm_cattrip", dir="-")
            m.submodules.cattrip = cattrip = io.Buffer("o", pin)
            m.d.comb += cattrip.o.eq(0)
        return m
