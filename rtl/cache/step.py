"""What a table of slots is asked at each step of a head, and what it has to say of it."""

from amaranth.lib import data

from ..lane.job import index
from .place import check_slots

__all__ = ["step_layout", "step_result_layout"]


def step_layout(*, heads: int, blocks: int) -> data.StructLayout:
    """Return what a list of wanted blocks is for.

    ``head``: whose blocks they are; ``tail``: the block that grows, the latest one that there is;
    ``clears``: nothing is in the head's slots any more; ``last``: no more lists of this layer.
    """
    return data.StructLayout({"head": index(heads), "tail": index(blocks), "clears": 1, "last": 1})


def step_result_layout(*, heads: int, k: int) -> data.StructLayout:
    """Return what there is to say of a step.

    ``refused``: there is no such head, or no such tail; then nothing changes, and all else is 0 but
    ``head``. ``hits``, ``misses``: blocks that were there, and blocks to load; ``tail``: it was
    wanted, too. ``unknown``, ``unordered``, ``excess``: not all that is wanted is had, see
    :func:`~qkloom.rtl.cache.wanted.wanted_layout`.
    """
    check_slots(heads=heads, blocks=1, k=k)
    return data.StructLayout(
        {
            "head": index(heads),
            "hits": range(k),
            "misses": range(k),
            "tail": 1,
            "refused": 1,
            "unknown": 1,
            "unordered": 1,
            "excess": 1,
        }
    )
