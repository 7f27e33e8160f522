"""Descriptions of chips: what they may say, what follows, and what goes together."""

from .defaults import default_data_width, default_out_width, default_p_width, default_row_width
from .description import ChipDescription
from .read import preset_names, read_chip
from .tables import Cache, Index, LaneGroup, Memory, Softmax

__all__ = [
    "Cache",
    "ChipDescription",
    "Index",
    "LaneGroup",
    "Memory",
    "Softmax",
    "default_data_width",
    "default_out_width",
    "default_p_width",
    "default_row_width",
    "preset_names",
    "read_chip",
]
