"""What a manager is told to move, and what it hands over."""

from amaranth.lib import data

__all__ = ["HALF", "beat_layout", "command_layout", "data_layout"]

HALF = 32
"""Bits of an address that are added, or compared, at a time: a carry chain of all would be long."""


def command_layout(*, address_width: int, beats: int) -> data.StructLayout:
    """Return what a manager is told: to move ``beats`` from ``addr`` on."""
    return data.StructLayout({"addr": address_width, "beats": range(beats + 1)})


def beat_layout(*, data_width: int) -> data.StructLayout:
    """Return a beat that was read, ``last`` of its command."""
    return data.StructLayout({"data": data_width, "last": 1})


def data_layout(*, data_width: int) -> data.StructLayout:
    """Return a beat to be written: the bytes whose ``strb`` is 1."""
    return data.StructLayout({"data": data_width, "strb": data_width // 8})
