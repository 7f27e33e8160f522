"""Number formats hold what they say, and narrowing does to the bits what it does to integers."""

import math
import re
import struct

import pytest
from amaranth.hdl import Cat, Const, Module, Print, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.formats import (
    BF16,
    F16,
    F32,
    I4,
    I8,
    I32,
    U8,
    Fixed,
    Integer,
    NumberFormat,
    ceil_log2,
    round_shift,
    saturate,
    wrap,
)

INTEGERS = [Integer(1), Integer(1, is_signed=False), I4, U8, I8, Integer(13), I32]
FIXED = [*INTEGERS, Fixed(8, 16), Fixed(3, 2, is_signed=False), Fixed(0, 4), Fixed(-2, 6)]
FORMATS = [*FIXED, F16, BF16, F32]


def evaluate(*values):
    """Return what constant expressions are worth in the simulator."""
    results = []

    async def read(ctx):
        results.extend(ctx.get(value) for value in values)

    simulator = Simulator(Module())
    simulator.add_testbench(read)
    simulator.run()
    return results


def constant(value, width, *, is_signed):
    """Return a constant signal; narrowing helpers must not depend on a Python number."""
    return Signal(signed(width) if is_signed else unsigned(width), init=value)


def wrapped(value, target):
    span = 1 << target.width
    return (value - target.min_raw) % span + target.min_raw


numbers = st.tuples(st.booleans(), st.integers(1, 40)).flatmap(
    lambda kind: st.tuples(
        st.integers(-(1 << kind[1] - 1), (1 << kind[1] - 1) - 1)
        if kind[0]
        else st.integers(0, (1 << kind[1]) - 1),
        st.just(kind[1]),
        st.just(kind[0]),
    )
)
"""Value, width and whether it is signed."""

targets = st.builds(lambda w, s: Integer(w, is_signed=s), st.integers(1, 40), st.booleans())


class TestNarrowing:
    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(st.lists(st.tuples(numbers, targets), min_size=1, max_size=20))
    def test_wrap_and_saturate(self, cases):
        values, expected = [], []
        for (value, width, is_signed), target in cases:
            signal = constant(value, width, is_signed=is_signed)
            values += [wrap(signal, target), saturate(signal, target)]
            expected += [wrapped(value, target), max(target.min_raw, min(value, target.max_raw))]
        assert evaluate(*values) == expected

    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(st.lists(st.tuples(numbers, st.integers(0, 63)), min_size=1, max_size=20))
    def test_round_shift(self, cases):
        values, expected = [], []
        for (value, width, is_signed), amount in cases:
            signal = constant(value, width, is_signed=is_signed)
            values += [round_shift(signal, amount), round_shift(signal, Const(amount, 6))]
            expected += 2 * [value if not amount else (value + (1 << amount - 1)) >> amount]
        assert evaluate(*values) == expected

    def test_every_int8(self):
        values, expected = [], []
        for raw in range(-128, 128):
            signal = constant(raw, 8, is_signed=True)
            values += [saturate(signal, I4), wrap(signal, I4), round_shift(signal, 3)]
            expected += [max(-8, min(raw, 7)), wrapped(raw, I4), math.floor(raw / 8 + 0.5)]
        assert evaluate(*values) == expected

    def test_shapes(self):
        signal = Signal(signed(12))
        assert wrap(signal, I8).shape() == signed(8)
        assert wrap(signal, U8).shape() == unsigned(8)
        assert saturate(signal, U8).shape() == unsigned(8)
        assert saturate(signal, I32).shape().signed
        assert round_shift(signal, 3).shape().signed
        assert not round_shift(Signal(4), 3).shape().signed


class TestFixed:
    @pytest.mark.parametrize("number", FIXED, ids=str)
    def test_extremes(self, number):
        shape = Shape.cast(number)
        assert (shape.width, shape.signed) == (number.width, number.is_signed)
        assert number.max_raw - number.min_raw + 1 == 1 << number.width
        assert (number.min_raw < 0) == number.is_signed
        for raw in (number.min_raw, -number.is_signed, 0, number.max_raw):
            value = number.from_bits(raw)
            assert value == raw / (1 << number.f)
            assert number.to_bits(value) == raw
            assert number.const(value).value == raw

    @pytest.mark.parametrize("number", FIXED, ids=str)
    def test_a_field_of_a_constant_reads_as_the_number(self, number):
        layout = data.StructLayout({"above": 3, "number": number})
        for raw in (number.min_raw, -number.is_signed, 0, number.max_raw):
            value = number.from_bits(raw)
            assert layout.const({"above": 5, "number": value}).number == value

    def test_numbers_with_a_fraction(self):
        q = Fixed(3, 2)
        assert (q.from_bits(-16), q.from_bits(1), q.from_bits(15)) == (-4.0, 0.25, 3.75)
        assert (q.to_bits(-4), q.to_bits(3.75)) == (-16, 15)

    def test_integers_are_integers(self):
        assert isinstance(I8.from_bits(5), int)
        assert I8.to_bits(5.0) == 5

    @pytest.mark.parametrize(
        ("number", "value", "text"),
        [
            (I8, 128, "I8 must represent its value exactly, not 128"),
            (I8, -129, "I8 must represent its value exactly, not -129"),
            (U8, -1, "U8 must represent its value exactly, not -1"),
            (I4, 0.5, "I4 must represent its value exactly, not 0.5"),
            (Fixed(3, 2), 0.125, "Fixed(3, 2) must represent its value exactly, not 0.125"),
            (Fixed(3, 2, is_signed=False), -0.25, "UFixed(3, 2) must represent its value exactly"),
        ],
    )
    def test_what_it_cannot_hold(self, number, value, text):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
            number.to_bits(value)
        with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
            number.const(value)

    @pytest.mark.parametrize(("i", "f"), [(0, 0), (-1, 1), (2, -2)])
    def test_no_bits(self, i, f):
        message = f"A format needs at least one bit, not Fixed({i}, {f})"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Fixed(i, f)

    def test_names(self):
        names = ["I1", "U1", "I4", "U8", "I8", "I13", "I32"]
        names += ["Fixed(8, 16)", "UFixed(3, 2)", "Fixed(0, 4)", "Fixed(-2, 6)"]
        assert [str(number) for number in FIXED] == names
        assert [repr(number) for number in FIXED] == names


class TestFloat:
    @pytest.mark.parametrize(
        ("number", "width", "one", "largest"),
        [
            (F16, 16, 0x3C00, 65504.0),
            (BF16, 16, 0x3F80, 3.3895313892515355e38),
            (F32, 32, 0x3F800000, 3.4028234663852886e38),
        ],
    )
    def test_bits(self, number, width, one, largest):
        assert Shape.cast(number) == unsigned(width)
        assert number.to_bits(1.0) == one
        assert number.from_bits(one) == 1.0
        assert number.from_bits(number.to_bits(largest)) == largest
        assert number.to_bits(-0.0) == 1 << width - 1
        assert str(number.from_bits(1 << width - 1)) == "-0.0"
        assert number.from_bits(number.to_bits(-math.inf)) == -math.inf
        assert math.isnan(number.from_bits(number.to_bits(math.nan)))

    @pytest.mark.parametrize("number", [F16, BF16], ids=str)
    def test_all_of_16_bits(self, number):
        for raw in range(0, 1 << 16, 7):
            value = number.from_bits(raw)
            assert math.isnan(value) or number.to_bits(value) == raw

    @given(st.floats(width=32, allow_nan=False))
    def test_f32_is_the_machines(self, value):
        assert F32.to_bits(value) == struct.unpack("<I", struct.pack("<f", value))[0]
        assert F32.from_bits(F32.to_bits(value)) == value

    @pytest.mark.parametrize("number", [F16, BF16, F32], ids=str)
    def test_what_it_cannot_hold(self, number):
        message = f"{number} must represent its value exactly, not 0.1"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            number.to_bits(0.1)

    def test_names(self):
        assert [str(x) for x in (F16, BF16, F32)] == ["F16", "BF16", "F32"]


class TestShape:
    def test_formats_compare_by_value(self):
        assert Integer(8) == I8 == Fixed(8, 0)
        assert hash(Integer(8)) == hash(I8)
        assert len({*FORMATS, *FORMATS}) == len(FORMATS)
        assert F16 != BF16

    @pytest.mark.parametrize("number", FORMATS, ids=str)
    def test_a_signal_is_a_plain_value(self, number):
        signal = Signal(number)
        assert isinstance(signal, Signal)
        assert signal.shape() == Shape.cast(number)
        view = number(Signal(number.width))
        assert isinstance(view, Value)
        assert view.shape() == Shape.cast(number)

    def test_init_and_reset(self):
        assert Signal(Fixed(3, 2), init=-0.75).init == -3
        assert Signal(I8).init == 0
        assert F16.const(None).value == 0

    def test_in_layouts(self):
        layout = data.StructLayout(
            {"row": data.ArrayLayout(I8, 3), "scale": Fixed(3, 2), "half": F16, "flag": U8}
        )
        assert layout.size == 24 + 5 + 16 + 8
        signal = Signal(layout, init={"row": [-1, 2, -128], "scale": -0.25, "half": 1.0, "flag": 9})
        row = [signal.row[i] for i in range(3)]
        assert [element.shape() for element in row] == [signed(8)] * 3
        values = evaluate(*row, signal.scale, signal.half, signal.flag, row[0] + row[1])
        assert values == [-1, 2, -128, -1, 0x3C00, 9, 1]

    def test_equal_layouts_of_equal_formats(self):
        assert data.ArrayLayout(I8, 3) == data.ArrayLayout(Integer(8), 3)
        assert data.ArrayLayout(I8, 3) != data.ArrayLayout(U8, 3)

    def test_in_streams_and_ports(self):
        class Negate(Component):
            def __init__(self, *, shape):
                super().__init__({"i": In(stream.Signature(shape)), "o": Out(shape)})

            def elaborate(self, platform):
                m = Module()
                m.d.comb += self.o.eq(-self.i.payload)
                return m

        design = emit(Negate(shape=I8))
        ports = {port.name: (port.width, port.is_signed) for port in design.ports}
        assert ports == {
            "i__payload": (8, True),
            "i__valid": (1, False),
            "i__ready": (1, False),
            "o": (8, True),
        }

    def test_they_print_as_their_bits(self, capsys):
        m = Module()
        layout = data.StructLayout({"a": I8, "b": U8})
        m.d.sync += Print(Signal(layout, init={"a": -5, "b": 251}))
        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.run_until(1e-6)
        assert capsys.readouterr().out == "{a=-5, b=251}\n"

    def test_a_slice_loses_the_sign_and_a_format_gives_it_back(self):
        bits = Cat(constant(-3, 8, is_signed=True), constant(1, 2, is_signed=False))
        assert evaluate(bits[:8], I8(bits[:8]), U8(I8(bits[:8]))) == [253, -3, 253]

    def test_the_base_has_no_numbers(self):
        for convert in (NumberFormat().from_bits, NumberFormat().to_bits):
            with pytest.raises(NotImplementedError):
                convert(0)


@pytest.mark.parametrize(
    ("n", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11)]
)
def test_ceil_log2(n, bits):
    assert ceil_log2(n) == bits


@pytest.mark.parametrize("n", [0, -4])
def test_ceil_log2_of_nothing(n):
    with pytest.raises(ValueError, match=f"^A count must be at least 1, not {n}$"):
        ceil_log2(n)
