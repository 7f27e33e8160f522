"""Tables of subset sums from RAM32M16 (UG574, chapter 2, "Distributed RAM").

A RAM32M16 is 32 words deep: ports A to G read two bits each without a clock; port H has the address
that all of them write to, and a read side that is of no use here.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal

from ...rtl.matrix.table import GROUP, SubsetTable

__all__ = ["build_subset_table"]

_READ_PORTS = "ABCDEFG"


def build_subset_table(table: SubsetTable) -> Module:
    """Build each two bits of each plane's sum from one port."""
    m = Module()
    width, planes = table.parameters.values()
    bank = Signal(reset_less=True)
    m.d.sync += bank.eq(table.i_bank)
    ports = [(plane, low) for plane in range(planes) for low in range(0, width, 2)]
    for number, first in enumerate(range(0, len(ports), len(_READ_PORTS))):
        pins = {}
        for name, (plane, low) in zip(_READ_PORTS, ports[first:], strict=False):
            n = min(2, width - low)
            o = Signal(2, name=f"o_{plane}_{low}")
            pins[f"i_ADDR{name}"] = Cat(table.i.word_select(plane, GROUP), bank)
            pins[f"i_DI{name}"] = Cat(table.w_data[low : low + n], Const(0, 2 - n))
            pins[f"o_DO{name}"] = o
            m.d.comb += table.o.word_select(plane, width)[low : low + n].eq(o[:n])
        for name in _READ_PORTS[len(ports[first:]) :]:
            pins[f"i_ADDR{name}"] = Const(0, GROUP + 1)
            pins[f"i_DI{name}"] = Const(0, 2)
            pins[f"o_DO{name}"] = Signal(2, name=f"unused_{number}_{name}")
        m.submodules[f"ram_{number}"] = Instance(
            "RAM32M16",
            **pins,
            i_ADDRH=table.w_addr,
            i_DIH=Const(0, 2),
            o_DOH=Signal(2, name=f"unused_{number}_H"),
            i_WE=table.w_en,
            i_WCLK=ClockSignal(),
        )
    return m
