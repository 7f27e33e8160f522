"""An index call as a host prepares it: queries and keys in memory, a selection to come."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...rtl.kernel.kernel import Kernel
from ...rtl.mover.selection import record_bytes
from ..attention import Bools
from ..deal import Call, schedule
from ..formats import Ints
from ..index.exact import CoverageRule
from ..quantize import Int8s
from .beats import whole_beats
from .image import Bytes, Image, factor_table, read_bytes, to_channels
from .task import row_bytes

__all__ = [
    "INDEX",
    "HeadResult",
    "IndexCall",
    "IndexTask",
    "index_numbers",
    "place_index",
    "planned_index_bytes",
    "read_records",
    "read_selection",
    "record_of",
]

INDEX = 1 << 4
"""The flag of a call that writes a selection."""


@dataclass(frozen=True)
class IndexCall:
    """Which KV blocks queries need, in causal attention of all tokens to all.

    Members
    -------
    q : int8 array (heads, tokens, head_dim)
        Queries.
    k : int8 array (kv_heads, tokens, head_dim)
        Keys.
    mantissa, shift : int arrays (heads,)
        Score factor of each head.
    rule : CoverageRule
        What is asked for.
    query_bits : int
        Bits of a query's elements.
    """

    q: Int8s
    k: Int8s
    mantissa: Ints
    shift: Ints
    rule: CoverageRule
    query_bits: int = 8


@dataclass(frozen=True)
class HeadResult:
    """What a kernel says of a head.

    Members
    -------
    is_aware : bool
        Whether it is query-aware.
    flat : tuple of bool
        Whether all masses of columns, of diagonals, of pairs are equal.
    divergence : int
        Square of the divergence.
    columns, diagonals, pairs : int
        How many are taken.
    blocks : int
        Blocks of the sequence.
    """

    is_aware: bool
    flat: tuple[bool, bool, bool]
    divergence: int
    columns: int
    diagonals: int
    pairs: int
    blocks: int


@dataclass(frozen=True)
class IndexTask:
    """An index call in memory.

    Members
    -------
    arguments : dict
        What the host writes into which register.
    selection, verdicts : int
        Addresses of what the kernel writes.
    """

    arguments: dict[str, int]
    selection: int
    verdicts: int
    heads: int
    blocks: int
    row: int
    record: int

    def masks(self, memory: list[Bytes]) -> Bools:
        """Return the selection (heads, query blocks, KV blocks)."""
        content = read_bytes(memory, self.selection, self.heads * self.blocks * self.row)
        return read_selection(content, self.heads, self.blocks, self.row)

    def records(self, memory: list[Bytes]) -> Bytes:
        """Return the bytes of all heads' records."""
        return read_bytes(memory, self.verdicts, self.heads * self.record)

    def done(self, memory: list[Bytes], unwritten: Bytes) -> int:
        """Return how many heads are complete, if their records were ``unwritten`` before."""
        differs = (self.records(memory) != unwritten).reshape(self.heads, -1).any(axis=1)
        return int(differs.sum())

    def results(self, memory: list[Bytes]) -> list[HeadResult]:
        """Return what is known of each head."""
        return read_records(self.records(memory), self.heads)


def read_selection(content: Bytes, heads: int, blocks: int, row: int) -> Bools:
    """Return a selection (heads, query blocks, KV blocks) from its bytes in memory."""
    rows = np.unpackbits(content.reshape(heads, blocks, row), axis=-1, bitorder="little")
    return rows[..., :blocks].astype(bool)


def read_records(content: Bytes, heads: int) -> list[HeadResult]:
    """Return what is known of each head from the bytes of its record in memory."""
    words = np.ascontiguousarray(content.reshape(heads, -1)).view("<u4")
    return [_result(*record[:6].tolist()) for record in words]


def _result(flags: int, *numbers: int) -> HeadResult:
    flat = (bool(flags & 2), bool(flags & 4), bool(flags & 8))
    return HeadResult(bool(flags & 1), flat, *numbers)


def record_of(head: HeadResult, record: int) -> Bytes:
    """Return the bytes of a head's record."""
    flags = head.is_aware | sum(bit << 1 + k for k, bit in enumerate(head.flat))
    words = (flags, head.divergence, head.columns, head.diagonals, head.pairs, head.blocks, 0, 0)
    content = np.array(words, "<u4").view(np.uint8)
    return np.pad(content, (0, record - len(content)))


def index_numbers(
    q: Int8s, k: Int8s, *, block: int, rule: CoverageRule, query_bits: int, paged: bool
) -> dict[str, int]:
    """Return what a host writes for an index call beside pointers."""
    heads, tokens, head_dim = q.shape
    rows = min(block, tokens)
    ask = rule.ask(-(-tokens // block), block, 1, 0)
    return {
        "flags": 1 | paged << 1 | INDEX,
        "heads": heads,
        "kv_heads": len(k),
        "n_q": rows,
        "n_kv": tokens,
        "q_start": tokens - rows,
        "head_dim": head_dim,
        "query_bits": query_bits,
        "gamma": ask.gamma,
        "limit": ask.limit,
        "fewest": ask.least,
        "most": ask.most,
    }


def place_index(
    kernel: Kernel, call: IndexCall, image: Image, places: NDArray[np.int64] | None = None
) -> IndexTask:
    """Place an index call in an image of memory; parameters as of :func:`.task.place`."""
    given, channels = kernel.parameters, kernel.channels
    block = given["block_rows"]
    heads, tokens, _ = call.q.shape
    rows = min(block, tokens)
    blocks = -(-tokens // block)
    arguments: dict[str, int] = {}
    # Values of this call are all queries.
    for name, x in (("q", call.q[:, -rows:]), ("k", call.k), ("v", call.q)):
        parts = to_channels(
            x,
            block=block,
            n_channels=len(channels[name]),
            width=given["stream_width"],
            places=places if name == "k" else None,
        )
        for number, (channel, part) in enumerate(zip(channels[name], parts, strict=True)):
            arguments[f"{name}_{number}"] = image.add(channel, part)
    # Nothing is written there; the pointers are good ones all the same.
    for number, channel in enumerate(channels["o"]):
        arguments[f"o_{number}"] = image.add(channel, np.zeros(1, np.uint8))
    tables = channels["q"][0]
    arguments["factors"] = image.add(tables, factor_table(call.mantissa, call.shift))
    if places is not None:
        arguments["table"] = image.add(tables, places.astype("<u4").view(np.uint8))
    row, record = row_bytes(kernel), record_bytes(given["data_width"])
    selection = image.reserve(tables, heads * blocks * row)
    verdicts = image.reserve(tables, heads * record)
    arguments |= {"selection": selection, "verdicts": verdicts}
    arguments |= index_numbers(
        call.q,
        call.k,
        block=block,
        rule=call.rule,
        query_bits=call.query_bits,
        paged=places is not None,
    )
    return IndexTask(arguments, selection, verdicts, heads, blocks, row, record)


def planned_index_bytes(kernel: Kernel, call: IndexCall, aware: list[bool]) -> dict[str, int]:
    """Return the bytes that an index call must move, by its own formula.

    Queries of the last block move once, all of them for query-aware heads, and for those of a round
    that are ahead; keys once for each round with query heads of theirs. Reads are whole beats.
    """
    width = kernel.parameters["stream_width"]
    size, block = kernel.parameters["size"], kernel.parameters["block_rows"]
    heads, tokens, head_dim = call.q.shape

    def beats(n: int) -> int:
        return whole_beats(kernel, n * head_dim, width)

    tiles = sum(beats(min(size, tokens - first)) for first in range(0, tokens, size))
    group = heads // len(call.k)
    rounds = schedule(
        Call(call.q[:, :1], call.k, call.k, call.mantissa, call.shift),
        lanes=len(kernel.parameters["lanes"]),
        slots=kernel.parameters["slots"],
        block_rows=block,
        key_heads=kernel.parameters["key_heads"],
    )
    of_rounds = [{entry.head // group for entry in blocks} for blocks in rounds]
    ahead = kernel.parameters["heads_ahead"]
    read = {head for head, is_aware in enumerate(aware) if is_aware}
    read |= {entry.head for blocks in rounds for entry in blocks[:ahead]}
    return {
        "q": heads * beats(min(block, tokens)),
        "k": tiles * sum(map(len, of_rounds)),
        "v": tiles * len(read),
        "o": 0,
    }
