"""What a host can write and read, as data, from which hardware, headers and packages are made."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from amaranth.hdl import Const, Shape, signed, unsigned
from amaranth.lib import data

__all__ = [
    "ACCESSES",
    "WORD_BYTES",
    "Field",
    "Register",
    "check_registers",
    "status_layout",
    "values_layout",
    "word_of",
]

WORD_BYTES = 4
"""Bytes of a word: of what the host moves at once."""

ACCESSES = {
    "rw": "the host writes it, and reads what it wrote",
    "ro": "the hardware says it; writes change nothing",
    "act": "a bit written 1 is an order, which lasts a cycle; the hardware says what is read",
}
"""Who says what is in a register."""

_NAME = re.compile("[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Field:
    """Some bits of a register; the first field of a register has the lowest.

    Parameters
    ----------
    name : str
        Lower case letters, digits and underscores.
    width : int
        Bits.
    doc : str
        What it means, a sentence without its full stop.
    """

    name: str
    width: int
    doc: str

    def __post_init__(self) -> None:
        _check_name("Field", self.name)
        if not _is_count(self.width):
            raise ValueError(f"Width of field {self.name} must be at least 1, not {self.width!r}")


@dataclass(frozen=True)
class Register:
    """One or two words that belong together.

    Equal descriptions are equal, hash alike, and print the same in every run, so that they can be
    parameters of a component.

    Parameters
    ----------
    name : str
        Lower case letters, digits and underscores.
    offset : int
        Address of the lowest byte: a multiple of the register's bytes.
    access : str
        A key of :data:`ACCESSES`.
    doc : str
        What it means, a sentence without its full stop.
    width : int
        32 or 64. A register of 64 bits takes two words, the low one first; each is read and written
        by itself.
    fields : tuple of Field
        What its bits are; all of them are one number if there are none. Bits beyond are 0.
    is_signed : bool
        Whether this number is two's complement.
    constant : int, optional
        What a register with access ``ro`` always says: it then is no port of the hardware.

    Raises
    ------
    TypeError, ValueError
        When one of these is not so.
    """

    name: str
    offset: int
    access: str
    doc: str
    width: int = 32
    fields: tuple[Field, ...] = ()
    is_signed: bool = False
    constant: int | None = None

    def __post_init__(self) -> None:
        _check_name("Register", self.name)
        where = f"register {self.name}"
        if self.access not in ACCESSES:
            known = ", ".join(ACCESSES)
            raise ValueError(f"Access of {where} must be one of {known}, not {self.access!r}")
        if self.width not in (32, 64):
            raise ValueError(f"Width of {where} must be 32 or 64, not {self.width!r}")
        if not isinstance(self.offset, int) or self.offset < 0 or self.offset % self.n_bytes:
            raise ValueError(
                f"Offset of {where} must be a multiple of {self.n_bytes}, not {self.offset!r}"
            )
        if not isinstance(self.fields, tuple):
            raise TypeError(f"Fields of {where} must be a tuple, not {self.fields!r}")
        if sum(field.width for field in self.fields) > self.width:
            raise ValueError(f"Fields of {where} must fit into {self.width} bits")
        _check_unique(f"Fields of {where}", self.fields)
        if self.is_signed and self.fields:
            raise ValueError(f"Sign of {where} must be left to its number, and it has fields")
        if self.constant is not None and (self.access != "ro" or self.constant >> self.width):
            raise ValueError(
                f"Constant of {where} must be of access ro and fit into {self.width} bits, "
                f"not {self.constant!r} of access {self.access}"
            )

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes."""
        return self.width // 8

    @property
    def n_words(self) -> int:
        """Words that it takes."""
        return self.n_bytes // WORD_BYTES

    @property
    def end(self) -> int:
        """Address of the first byte behind it."""
        return self.offset + self.n_bytes

    @property
    def shape(self) -> Any:
        """What it is in hardware: a number, or a struct of its fields."""
        if self.fields:
            return data.StructLayout({field.name: field.width for field in self.fields})
        return signed(self.width) if self.is_signed else unsigned(self.width)

    @property
    def mask(self) -> int:
        """The bits that it has."""
        width: int = Shape.cast(self.shape).width
        return (1 << width) - 1

    def place(self, field: str) -> int:
        """Return the lowest bit of a field."""
        names = [known.name for known in self.fields]
        return sum(known.width for known in self.fields[: names.index(field)])


def check_registers(registers: Iterable[Register], *, address_width: int) -> tuple[Register, ...]:
    """Return registers by address, if they are a map: names and places all their own.

    Raises
    ------
    TypeError, ValueError
        When there is none, two share a name or a word, or one is out of the host's reach.
    """
    listed = tuple(registers)
    for register in listed:
        if not isinstance(register, Register):
            raise TypeError(f"Registers must be described by a Register, not by {register!r}")
    if not listed:
        raise ValueError("Registers must be at least one")
    _check_unique("Registers", listed)
    listed = tuple(sorted(listed, key=lambda register: register.offset))
    for before, after in pairwise(listed):
        if before.end > after.offset:
            raise ValueError(
                f"Registers must not overlap, and {before.name} reaches to {before.end - 1:#x}, "
                f"where {after.name} begins at {after.offset:#x}"
            )
    if listed[-1].end > 1 << address_width:
        raise ValueError(
            f"Register {listed[-1].name} must lie below {1 << address_width:#x}, "
            f"not at {listed[-1].offset:#x}"
        )
    return listed


def values_layout(registers: Iterable[Register]) -> data.StructLayout:
    """Return the layout of what the host writes: registers with access ``rw`` and ``act``."""
    return data.StructLayout({r.name: r.shape for r in registers if r.access != "ro"})


def status_layout(registers: Iterable[Register]) -> data.StructLayout:
    """Return the layout of what the hardware says: ``ro`` without the constants, and ``act``."""
    return data.StructLayout(
        {r.name: r.shape for r in registers if r.access != "rw" and r.constant is None}
    )


def word_of(register: Register, bits: Any, number: int) -> Any:
    """Return word ``number`` of a register, 32 bits, out of its ``bits``."""
    if register.constant is not None:
        return Const(register.constant >> 32 * number & 0xFFFF_FFFF, 32)
    return bits[32 * number : 32 * number + 32]


def _check_name(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{kind} name must be of a-z, 0-9 and _, not {name!r}")


def _check_unique(what: str, named: Sequence[Any]) -> None:
    names = [one.name for one in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} must have different names, and have {', '.join(twice)} twice")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
