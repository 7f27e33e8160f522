"""What a coverage unit is asked, and what it says of a head first."""

from amaranth.lib import data

from ..lane.job import index
from ..lane.numerics import Numerics
from .numerics import IndexNumerics
from .share import GAMMA_BITS

__all__ = ["ask_layout", "aware_layout", "factor_layout", "rule_layout"]


def rule_layout(blocks: int) -> data.StructLayout:
    """Return the layout of a rule of coverage, which holds for all heads of a call.

    ``gamma``: share of attention, in units of ``2**-16``, up to 1. ``limit``: what the divergence
    must be below for query-aware, see
    :meth:`~qkloom.rtl.index.numerics.IndexNumerics.encode_tau`. ``least``, ``most``: blocks, of
    columns and of diagonals.
    """
    return data.StructLayout(
        {
            "gamma": GAMMA_BITS + 1,
            "limit": IndexNumerics.divergence_fraction + 3,
            "least": blocks.bit_length(),
            "most": blocks.bit_length(),
        }
    )


def factor_layout() -> data.StructLayout:
    """Return the layout of a head's score factor, ``mantissa / 2**shift``."""
    return data.StructLayout({"mantissa": Numerics.mantissa_width, "shift": Numerics.shift_width})


def ask_layout(key_heads: int) -> data.StructLayout:
    """Return the layout of what is asked of a head: its score factor, and whose keys it has.

    ``key_head``: number of its KV head in the round, of ``key_heads`` at most. ``ahead``: all its
    queries are read, whether it is query-aware or not. ``ends``: it is the round's last head.
    """
    own = {"key_head": index(key_heads), "ahead": 1, "ends": 1}
    return data.StructLayout({**factor_layout().members, **own})


def aware_layout(blocks: int) -> data.StructLayout:
    """Return the layout of what is to be known of a head: its blocks, and if it is query-aware."""
    return data.StructLayout({"blocks": blocks.bit_length(), "is_aware": 1})
