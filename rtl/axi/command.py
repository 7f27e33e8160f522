"""What managers are told, and what they pass on."""

from amaranth.lib import data

__all__ = ["beat_layout", "command_layout", "strobed_layout"]


def command_layout(*, address_width: int, beats: int) -> data.StructLayout:
    """Return what a manager is told: to move ``beats`` from ``addr`` on, a multiple of a beat."""
    return data.StructLayout({"addr": address_width, "beats": range(beats + 1)})


def beat_layout(*, data_width: int) -> data.StructLayout:
    """Return a beat that was read, ``last`` of its command."""
    return data.StructLayout({"data": data_width, "last": 1})


def strobed_layout(*, data_width: int) -> data.StructLayout:
    """Return a beat to write: ``strb`` has a bit per byte."""
    return data.StructLayout({"data": data_width, "strb": data_width // 8})
