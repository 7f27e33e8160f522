"""Pairs of a query block and a KV block, and the attention that averages foretell."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed, shift_right, shift_stages
from ..lane.scale import Scale
from ..product import Product
from ..stream import Queue, connect_stream
from ..stream.level import count_level
from .code import CodeEncoder, code_width
from .dot import beats_of, vector_layout
from .dot_pipe import DotPipeline
from .exp2 import Exp2Table
from .pair_order import PairOrder
from .row_sums import RowSums
from .vectors import VectorMemory

__all__ = ["PairShares", "PairSource"]

_RECIPROCAL = 17
_PRODUCT = 26
"""Bits of a power that is multiplied by a reciprocal."""
_SHARE = 30
"""Bits of the share of all pairs below its first one."""
