import re

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from qkloom.rtl.control import Field, Register, check_registers, status_layout, values_layout

ONE = Register("one", 0x10, "rw", "One")
PAIR = Register("pair", 0x18, "ro", "Two words", width=64)
BITS = Register("bits", 0x20, "act", "Bits", fields=(Field("a", 3, "A"), Field("b", 1, "B")))

CONSTANT = "Constant of register x must be of access ro and fit into 32 bits"


class TestRegister:
    def test_derived(self):
        assert (PAIR.n_bytes, PAIR.n_words, PAIR.end, PAIR.mask) == (8, 2, 0x20, 2**64 - 1)
        assert (ONE.n_words, ONE.end, ONE.shape) == (1, 0x14, unsigned(32))
        assert BITS.shape == data.StructLayout({"a": 3, "b": 1})
        assert (BITS.mask, BITS.place("a"), BITS.place("b")) == (15, 0, 3)
        assert Register("x", 0, "rw", "X", is_signed=True).shape == signed(32)

    def test_is_a_value(self):
        again = Register("one", 0x10, "rw", "One")
        assert again == ONE
        assert hash(again) == hash(ONE)
        assert repr(ONE) == (
            "Register(name='one', offset=16, access='rw', doc='One', width=32, fields=(), "
            "is_signed=False, constant=None)"
        )
        with pytest.raises(AttributeError):
            ONE.offset = 4

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"name": "One"}, "Register name must be of a-z, 0-9 and _, not 'One'"),
            ({"access": "w"}, "Access of register x must be one of rw, ro, act, not 'w'"),
            ({"width": 16}, "Width of register x must be 32 or 64, not 16"),
            ({"offset": 2}, "Offset of register x must be a multiple of 4, not 2"),
            ({"offset": -4}, "Offset of register x must be a multiple of 4, not -4"),
            (
                {"offset": 4, "width": 64},
                "Offset of register x must be a multiple of 8, not 4",
            ),
            ({"fields": (Field("a", 33, ""),)}, "Fields of register x must fit into 32 bits"),
            (
                {"fields": (Field("a", 1, ""), Field("a", 1, ""))},
                "Fields of register x must have different names, and have a twice",
            ),
            (
                {"fields": (Field("a", 1, ""),), "is_signed": True},
                "Sign of register x must be left to its number, and it has fields",
            ),
            (
                {"constant": 1},
                f"{CONSTANT}, not 1 of access rw",
            ),
            (
                {"constant": 2**32, "access": "ro"},
                f"{CONSTANT}, not 4294967296 of access ro",
            ),
        ],
    )
    def test_errors(self, change, message):
        right = {"name": "x", "offset": 0, "access": "rw", "doc": ""}
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Register(**{**right, **change})

    def test_field_errors(self):
        message = r"^Field name must be of a-z, 0-9 and _, not '0'$"
        with pytest.raises(ValueError, match=message):
            Field("0", 1, "")
        with pytest.raises(ValueError, match=r"^Width of field a must be at least 1, not 0$"):
            Field("a", 0, "")
        with pytest.raises(TypeError, match=r"^Fields of register x must be a tuple, not \[\]$"):
            Register("x", 0, "rw", "", fields=[])


class TestMap:
    def test_order(self):
        assert check_registers((BITS, PAIR, ONE), address_width=6) == (ONE, PAIR, BITS)

    def test_layouts(self):
        constant = Register("same", 0x30, "ro", "", constant=7)
        everything = (ONE, PAIR, BITS, constant)
        assert values_layout(everything) == data.StructLayout({"one": 32, "bits": BITS.shape})
        assert status_layout(everything) == data.StructLayout({"pair": 64, "bits": BITS.shape})

    @pytest.mark.parametrize(
        ("registers", "message"),
        [
            ((), "Registers must be at least one"),
            ((ONE, ONE), "Registers must have different names, and have one twice"),
            (
                (PAIR, Register("late", 0x1C, "rw", "")),
                "Registers must not overlap, and pair reaches to 0x1f, where late begins at 0x1c",
            ),
            (
                (Register("far", 0x40, "rw", ""),),
                "Register far must lie below 0x40, not at 0x40",
            ),
        ],
    )
    def test_errors(self, registers, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_registers(registers, address_width=6)

    def test_kind(self):
        message = r"^Registers must be described by a Register, not by 'one'$"
        with pytest.raises(TypeError, match=message):
            check_registers(("one",), address_width=6)
