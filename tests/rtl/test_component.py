"""The base of components: parameters are captured, immutable, and name the module."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.formats import I8
from qkloom.rtl.lane.exp2 import Exp2


class Delay(Component):
    """``stages`` registers of a format."""

    def __init__(self, *, shape, stages=1, label=None):
        self._stages = stages
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for stage in range(self._stages):
            if stage == self._stages - 1:
                m.d.sync += self.o.eq(value)
        return m


class LateDelay(Delay):
    """The same constructor, nothing of its own."""


class Sharing:
    """A platform that shares modules: it notes who asks to be elaborated."""

    def __init__(self):
        self.asked = []

    def instantiate(self, component, elaborate):
        self.asked.append(component)
        return elaborate(component, self)


class TestParameters:
    def test_defaults_are_parameters(self):
        dut = Delay(shape=I8)
        assert dict(dut.parameters) == {"shape": I8, "stages": 1, "label": None}
        assert list(dut.parameters) == ["shape", "stages", "label"]

    def test_given_ones_count(self):
        assert Delay(stages=3, shape=8).parameters["stages"] == 3

    def test_they_are_read_only(self):
        dut = Delay(shape=8)
        with pytest.raises(TypeError, match=r"^'mappingproxy' object does not support item"):
            dut.parameters["shape"] = 9
        with pytest.raises(AttributeError):
            dut.parameters = {}

    def test_each_component_has_its_own(self):
        narrow, wide = Delay(shape=4), Delay(shape=8)
        assert (narrow.parameters["shape"], wide.parameters["shape"]) == (4, 8)

    def test_the_constructor_may_read_them(self):
        class Doubled(Component):
            def __init__(self, *, width):
                super().__init__({"o": Out(2 * self.parameters["width"])})

        assert len(Doubled(width=3).o) == 6

    def test_a_derived_class_inherits_the_constructor(self):
        assert dict(LateDelay(shape=8, stages=2).parameters)["stages"] == 2

    def test_a_derived_class_may_have_its_own(self):
        class Byte(Delay):
            def __init__(self, *, label):
                super().__init__(shape=8, label=label)

        assert dict(Byte(label="x").parameters) == {"label": "x"}

    def test_none_at_all(self):
        class Constant(Component):
            def __init__(self):
                super().__init__({"o": Out(8)})

        assert dict(Constant().parameters) == {}
        assert Constant().module_name == "constant"


class TestErrors:
    def test_positional(self):
        with pytest.raises(TypeError, match=r"^Delay takes keyword parameters only, not 8$"):
            Delay(8)

    def test_mutable(self):
        message = "Parameter 'shape' must be immutable, not [8]"
        with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
            Delay(shape=[8])

    def test_mutable_within(self):
        message = "Parameter 'label' must be immutable, not ('a', [])"
        with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
            Delay(shape=8, label=("a", []))

    def test_missing(self):
        with pytest.raises(
            TypeError, match=r"^missing a required (keyword-only )?argument: 'shape'$"
        ):
            Delay(stages=1)

    def test_unknown(self):
        with pytest.raises(TypeError, match=r"^got an unexpected keyword argument 'width'$"):
            Delay(shape=8, width=8)


class TestModuleName:
    @pytest.mark.parametrize(
        ("cls", "parameters", "name"),
        [
            (Delay, {"shape": 8}, "delay_shape8_stages1_labelnone"),
            (LateDelay, {"shape": I8, "stages": 2}, "late_delay_shapei8_stages2_labelnone"),
            (Delay, {"shape": 8, "label": True}, "delay_shape8_stages1_label"),
            (Delay, {"shape": 8, "label": False}, "delay_shape8_stages1"),
            (Delay, {"shape": 8, "label": "Plain"}, "delay_shape8_stages1_plain"),
            (Delay, {"shape": 8, "label": ("a b", -1)}, "delay_shape8_stages1_label__a_b____1"),
            (Delay, {"shape": data.ArrayLayout(I8, 3)}, "delay_24b_stages1_labelnone"),
        ],
    )
    def test_it_spells_class_and_parameters(self, cls, parameters, name):
        assert cls(**parameters).module_name == name
        assert re.fullmatch("[a-z][a-z0-9_]*", name)

    def test_operands_of_8_bits_go_without_saying(self):
        names = [
            Exp2(segments=8, fraction=8, p_width=8, stream_width=width).module_name
            for width in (8, 4)
        ]
        assert names == [
            "exp2_segments8_fraction8_p_width8",
            "exp2_segments8_fraction8_p_width8_stream_width4",
        ]

    def test_it_ends_before_it_is_too_long_to_read(self):
        names = [Delay(shape=8, label="x" * n).module_name for n in range(1, 60)]
        assert names[0] == "delay_shape8_stages1_x"
        assert names[-1] == "delay_shape8_stages1"
        assert max(map(len, names)) == 48


class TestElaboration:
    def test_in_place_without_a_sharing_platform(self):
        for platform in (None, object()):
            assert isinstance(Delay(shape=8).elaborate(platform), Module)

    def test_a_sharing_platform_is_asked(self):
        platform, dut = Sharing(), Delay(shape=8)
        assert isinstance(dut.elaborate(platform), Module)
        assert platform.asked == [dut]

    def test_of_a_derived_class_too(self):
        platform, dut = Sharing(), LateDelay(shape=8)
        dut.elaborate(platform)
        assert platform.asked == [dut]

    def test_names_and_documentation_stay(self):
        assert Delay.elaborate.__name__ == "elaborate"
        assert Delay.elaborate.__qualname__ == "Delay.elaborate"

    def test_it_runs_and_emits(self):
        dut = Delay(shape=I8)

        async def drive(ctx):
            ctx.set(dut.i, -5)
            await ctx.tick()
            assert ctx.get(dut.o) == -5

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(drive)
        simulator.run()
        assert emit(Delay(shape=I8)).name == "delay_shapei8_stages1_labelnone"

    def test_boundaries_are_not_kept_unless_asked(self):
        assert Component.keep_boundary is False
