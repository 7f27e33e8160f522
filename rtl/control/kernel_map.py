"""The registers of the attention kernel: what a call is told, and what the kernel says."""

from collections.abc import Iterator
from typing import NamedTuple

from ..check import check_count
from .control import ARGUMENTS_FROM, reset_register
from .register import Field, Register

__all__ = ["CACHE_COUNTERS", "TENSOR_NAMES", "KernelRegisters", "kernel_registers", "pointer_names"]

TENSOR_NAMES = {"q": "queries", "k": "keys", "v": "values", "o": "outputs"}
"""The tensors in memory, and the letter of each in the names of registers."""

VERSION = 0x0001_0000
"""Version of this map: major in the upper half, minor in the lower."""

_FLAGS = (
    Field("causal", 1, "Query i sees keys up to q_start + i"),
    Field("table", 1, "Blocks of keys and values are where the block table says"),
    Field("gemm", 1, "The call is a matrix product, not attention"),
    Field("sparse", 1, "Query blocks see the blocks of keys that the selection says"),
    Field("index", 1, "The call writes a selection, and no outputs"),
)
_SCALARS = {
    "heads": "Query heads",
    "kv_heads": "Heads of keys and values; a divisor of heads",
    "n_q": "Queries of each head",
    "n_kv": "Keys and values of each head",
    "q_start": "Place of the first query among the keys; may be negative",
    "head_dim": "Elements of a row",
    "query_bits": "Bits of a query's elements, where the precision is a call's",
}
_OF_PRODUCTS = {
    "heads": "of a product: groups of head_dim output channels",
    "kv_heads": "of a product: heads divided by how many groups are computed side by side",
    "n_q": "of a product: rows of the activations",
    "n_kv": "of a product: output channels, heads times head_dim",
    "q_start": "of a product: 0",
    "head_dim": "of a product: columns of a chunk, and channels of a group",
    "query_bits": "of activations as of queries",
    "chunks": "Of a product: its inner dimension in units of head_dim",
}
_OF_INDEX = {
    "gamma": "Of an index call: share of attention to keep, in units of 2^-16",
    "limit": "Of an index call: bound of the divergence of query-aware heads",
    "fewest": "Of an index call: fewest blocks of columns, and of diagonals",
    "most": "Of an index call: most of them",
}
_SIGNED = ("q_start",)
_ERROR = (Field("code", 8, "0, or what went wrong; of the call that ap_done is of"),)


CACHE_COUNTERS = {
    **{
        f"cache_{name}_{tier}": f"KV blocks {doc} the {tier} tier"
        for name, doc in {
            "hits": "that a window needed, found in",
            "fills": "that a window needed, fetched into",
            "evictions": "that left, for another one, a slot of",
        }.items()
        for tier in ("cold", "hot")
    },
    "cache_bypasses": "KV blocks that a window needed, fetched and kept nowhere",
}
"""What is counted of a cache of KV blocks, and what each counter says."""


class KernelRegisters(NamedTuple):
    """Two halves of a map, as :class:`~qkloom.rtl.control.control.Control` takes them.

    Members
    -------
    arguments : tuple of Register
        What the host writes before a call.
    status : tuple of Register
        What it can read.
    """

    arguments: tuple[Register, ...]
    status: tuple[Register, ...]


def pointer_names(tensor: str, channels: int) -> tuple[str, ...]:
    """Return the names of a tensor's pointers, one for each memory channel."""
    return tuple(f"{tensor}_{channel}" for channel in range(channels))


def kernel_registers(
    *,
    q_channels: int,
    k_channels: int,
    v_channels: int,
    o_channels: int,
    stalls: tuple[tuple[str, str], ...] = (),
    gemm: bool = False,
    sparse: bool = False,
    index: bool = False,
    cache: bool = False,
) -> KernelRegisters:
    """Return the registers of a kernel.

    Pointers come first, since they are of 64 bits: XRT writes arguments word by word in the order
    of their addresses, and a gap would be a word without a meaning. Counters are of 64 bits as
    well, but for ``calls_done``; they run from the reset pin on, whatever soft resets come.

    Parameters
    ----------
    q_channels, k_channels, v_channels, o_channels : int
        Memory channels over which queries, keys, values and outputs are spread.
    stalls : tuple of (str, str)
        What stalls are counted by: a name, as in ``stall_<name>``, and what the cycles are.
    gemm : bool
        Whether a call may be a product of matrices.
    sparse : bool
        Whether a call may have a selection.
    index : bool
        Whether a call may write one.
    cache : bool
        Whether there is a cache of KV blocks.
    """
    channels = {"q": q_channels, "k": k_channels, "v": v_channels, "o": o_channels}
    for tensor, n in channels.items():
        check_count(f"Channels of {tensor}", n, most=32)
    scalars = dict(_SCALARS)
    if gemm:
        for name, doc in _OF_PRODUCTS.items():
            scalars[name] = f"{scalars[name]}; {doc}" if name in scalars else doc
    if index:
        scalars |= _OF_INDEX
    arguments = tuple(_arguments(channels, scalars, sparse, index))
    status = tuple(_status(reset_register(arguments).end, stalls, cache))
    return KernelRegisters(arguments, status)


def _arguments(
    channels: dict[str, int], scalars: dict[str, str], sparse: bool, index: bool
) -> Iterator[Register]:
    offset = ARGUMENTS_FROM
    pointers = {
        name: f"Address of the {TENSOR_NAMES[tensor]}, part {part} of {n}"
        for tensor, n in channels.items()
        for part, name in enumerate(pointer_names(tensor, n))
    }
    pointers["factors"] = "Address of the factors of scores, one of each query head"
    pointers["table"] = "Address of the block table; not looked at unless flags say so"
    if sparse:
        pointers["selection"] = "Address of the selection; not looked at unless flags say so"
    if index:
        pointers["verdicts"] = "Address of the records that an index call writes of its heads"
    for name, doc in pointers.items():
        yield Register(name, offset, "rw", doc, width=64)
        offset += 8
    yield Register("flags", offset, "rw", "What kind of call it is", fields=_FLAGS)
    for name, doc in scalars.items():
        offset += 4
        yield Register(name, offset, "rw", doc, is_signed=name in _SIGNED)


def _status(offset: int, stalls: tuple[tuple[str, str], ...], cache: bool) -> Iterator[Register]:
    yield Register("version", offset, "ro", "Version of this map", constant=VERSION)
    offset += 4
    yield Register("error", offset, "ro", "What became of a call", fields=_ERROR)
    offset += 4
    yield Register("calls_done", offset, "ro", "Calls that ran to their end; not those refused")
    offset += 4
    moved = {name: f"Bytes of {doc} moved, strobes counted" for name, doc in TENSOR_NAMES.items()}
    counters = {
        "cycles": "Cycles since the reset pin's reset",
        "busy_cycles": "Cycles in which a call ran",
        **{f"{name}_bytes": doc for name, doc in moved.items()},
        **{f"stall_{name}": f"Cycles {doc}" for name, doc in stalls},
        **(CACHE_COUNTERS if cache else {}),
    }
    offset += -offset % 8
    for name, doc in counters.items():
        yield Register(name, offset, "ro", doc, width=64)
        offset += 8
