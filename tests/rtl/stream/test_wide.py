"""A wide slice is a register slice, in groups that do the same."""

import random

import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.stream.wide import GROUP, WideSlice
from qkloom.tb.simulate import simulate

WIDTHS = [0, 1, GROUP, GROUP + 1, 2 * GROUP, 257]


def run(width, *, cycles=400, **pace):
    rng = random.Random(width)
    items = [rng.getrandbits(width) if width else 0 for _ in range(40)]
    logs = simulate(
        WideSlice(shape=width), inputs={"i": items}, outputs=["o"], cycles=cycles, pace=pace
    )
    return logs, items


@pytest.mark.parametrize("width", WIDTHS)
class TestWidths:
    @pytest.mark.parametrize(("i", "o"), [(0.5, 0.5), (1, 0.3), (0.3, 1)])
    def test_order(self, width, i, o):
        logs, items = run(width, i=i, o=o)
        assert logs["o"].items == items

    def test_rate(self, width):
        logs, items = run(width, cycles=100)
        assert logs["o"].items == items
        assert logs["o"].cycles == list(range(1, len(items) + 1))

    def test_never_ready(self, width):
        logs, _ = run(width, cycles=20, o=0)
        assert logs["o"].valid_cycles == list(range(1, 20))
        assert logs["i"].cycles == [0, 1]

    def test_conversion(self, width):
        emit(WideSlice(shape=width), verilog=True)


def test_groups():
    """No group is wider than said, and equal ones are one module."""
    design = emit(WideSlice(shape=3 * GROUP))
    assert design.rtlil.count("\nmodule ") + design.rtlil.startswith("module ") == 2
    assert f"width {GROUP} " in design.rtlil
    assert f"width {GROUP + 1} " not in design.rtlil


def test_signature():
    shape = data.StructLayout({"a": 200, "b": 1})
    dut = WideSlice(shape=shape)
    assert dut.i.payload.shape() == dut.o.payload.shape() == shape
