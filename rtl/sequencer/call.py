"""What one call asks for, and what the sequencer makes of it on its way to lanes and memory.

A *call* is attention of some heads over some tokens. It falls into *query blocks*, which are dealt
out to the lanes in *rounds* of one each; a round walks through the KV blocks once, for all of its
lanes. With a cache of KV blocks, calls with a selection fall into *windows* instead: of query
blocks of one KV head, a few for each lane, which have *places* until it is known whose they are.
Blocks are numbered within a tensor: ``head * blocks per head + block``.

A *product* of matrices is a call as well. Its heads are groups of ``head_dim`` output channels, its
queries row blocks of the activations; ``n_kv`` is the number of channels, and ``chunks`` the inner
dimension in units of head_dim: so activations have as many heads as there are chunks.

An *index call* asks which KV blocks matter. Its queries are the last ones of each head, and its
rounds are of whole KV heads wherever they fit: so keys pass once for all heads of a group.
"""

from amaranth.hdl import signed
from amaranth.lib import data

from ..check import check_count
from ..formats import ceil_log2
from ..lane.job import PLANES, index

__all__ = [
    "SELECTION_WIDTH",
    "block_entry",
    "call_layout",
    "check_limits",
    "n_blocks",
    "needed_layout",
    "request_layout",
    "row_words",
]

SELECTION_WIDTH = 32
"""Bits of a selection that are looked at together: KV blocks of a query block."""


def check_limits(*, heads: int, tokens: int, block: int) -> None:
    """Refuse what no sequencer can be made for."""
    for name, value in {"Heads": heads, "Tokens": tokens, "Block": block}.items():
        check_count(name, value)


def n_blocks(*, heads: int, tokens: int, block: int) -> int:
    """Return the most blocks of a tensor."""
    check_limits(heads=heads, tokens=tokens, block=block)
    return heads * -(-tokens // block)


def row_words(*, tokens: int, block: int, data_width: int) -> int:
    """Return how far rows of a selection are apart in memory, in words of its width.

    A row has a bit for each KV block of the longest sequence. It is filled up to a power of two of
    bytes and to a whole beat, so that a row's place is a shift, and no beat has bits of two.
    """
    blocks = n_blocks(heads=1, tokens=tokens, block=block)
    return int(max(1 << ceil_log2(blocks), data_width, SELECTION_WIDTH)) // SELECTION_WIDTH


def call_layout(
    *,
    heads: int,
    tokens: int,
    head_dim: int,
    size: int,
    gemm: bool = False,
    selects: bool = False,
) -> data.StructLayout:
    """Return the layout of a call.

    Parameters
    ----------
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size : int
        Rows and columns of a lane's array.
    gemm : bool
        Whether a call may be a product.
    selects : bool
        Whether it may ask which KV blocks matter.
    """
    check_limits(heads=heads, tokens=tokens, block=size)
    of_product = {"gemm": 1, "chunks": range(heads + 1)} if gemm else {}
    return data.StructLayout(
        {
            "kv_heads": range(heads + 1),  # 1 or more
            "group": range(heads + 1),  # query heads per KV head, 1 or more
            "n_q": range(tokens + 1),  # 1 or more
            "n_kv": range(tokens + 1),  # 1 or more
            "q_start": signed(ceil_log2(tokens) + 2),
            "causal": 1,
            "d_tiles": range(head_dim // size + 1),  # head_dim in units of size, 1 or more
            "planes": PLANES,  # bits of a query that count
            **of_product,
            **({"selects": 1} if selects else {}),  # an index call
        }
    )


def block_entry(
    *,
    n_lanes: int,
    slots: int,
    heads: int,
    tokens: int,
    block: int,
    tiles: int = 0,
    per_lane: int = 0,
) -> data.StructLayout:
    """Return the layout of a query block on its way to a lane.

    ``tiles`` is how many tiles a head can have, if calls may be products; ``per_lane`` how many
    query blocks of a window a lane can have, if there may be windows.
    """
    most = n_blocks(heads=heads, tokens=tokens, block=block)
    of_product = {
        "row_block": index(-(-tokens // block)),  # number of the query block in its head
        "first_tile": index(heads * tiles),  # number of the head's first tile of channels
    }
    of_window = {
        "place": index(n_lanes * per_lane),  # in its round, or window
        "head_ends": 1,  # last of its KV head
    }
    return data.StructLayout(
        {
            "lane": index(n_lanes),
            "slot": index(slots),
            "head": index(heads),
            "q_index": index(most),  # number of the query block in its tensor
            "kv_index": index(most),  # number of the first block of its KV head
            "rows": range(block + 1),
            "keys": range(tokens + 1),  # that its last row may see
            "diagonal": signed(ceil_log2(tokens) + 2),  # row 0 sees keys up to this one
            "run_ends": 1,  # last of its KV head in this round
            "round_ends": 1,  # last of this round
            **(of_product if tiles else {}),
            **(of_window if per_lane else {}),
        }
    )


def request_layout(*, to: object, blocks: int, tiles: int, tokens: int) -> data.StructLayout:
    """Return the layout of a request for a part of a tensor.

    Parameters
    ----------
    to : shape-like
        Who it is for.
    blocks : int
        Most blocks of the tensor.
    tiles : int
        Tiles of a block that can be asked for.
    tokens : int
        Most tokens, from the tile's first on.
    """
    return data.StructLayout(
        {"to": to, "index": index(blocks), "tile": index(tiles), "tokens": range(tokens + 1)}
    )


def needed_layout(
    *, n_lanes: int, tokens: int, block: int, ends: bool = False
) -> data.StructLayout:
    """Return the layout of a KV block that lanes of a round, or places of a window, need.

    With ``ends``, an item may be the end of its window instead.
    """
    of_window = {
        "ends": 1,  # no block: the window's last one was before
        "last": 1,  # with that: the window was its KV head's last
    }
    return data.StructLayout(
        {
            "block": index(n_blocks(heads=1, tokens=tokens, block=block)),  # number in its head
            "first_key": range(tokens + 1),
            "lanes": n_lanes,  # a bit for each: who needs it
            **(of_window if ends else {}),
        }
    )
