"""What coverage is asked for."""

from amaranth.lib import data

from .numerics import IndexNumerics
from .share import GAMMA_BITS

__all__ = ["rule_layout"]


def rule_layout(blocks: int) -> data.StructLayout:
    """Return the layout of a rule of coverage.

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
