"""Rows of KV blocks in slots: filled from memory, served to lanes."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.count import count_to
from ..lane.job import index
from ..lane.pipeline import delayed
from ..memory import check_memory
from ..mover.frame import row_layout
from ..stream import Queue, connect_stream
from ..stream.level import count_level
from .rows import RowMemory, row_latency

__all__ = ["RowStore", "fill_layout", "serve_layout", "tile_layout"]

_DEPTH = 5
"""Rows that wait behind the memories, beside their latency: rate 1 over what is counted, too."""

_COMPLETE = 16
"""Fills that are complete before their visits have ended; more of them wait."""


def fill_layout(*, slots: int, tiles: int) -> data.StructLayout:
    """Return a fill: the slot, and how many tiles the block has in memory."""
    return data.StructLayout({"slot": index(slots), "tiles": range(tiles + 1)})


def serve_layout(*, slots: int) -> data.StructLayout:
    """Return a visit to serve: the slot, and whether a fill of it belongs to the visit."""
    return data.StructLayout({"slot": index(slots), "fetch": 1})


def tile_layout(*, n_lanes: int) -> data.StructLayout:
    """Return a tile of the visit: a bit per lane that needs it; or that the visit ``ends``."""
    return data.StructLayout({"to": n_lanes, "ends": 1})


def _part(text: str) -> tuple[int, str]:
    """Return slots of a memory, and what it is made of."""
    count, _, memory = text.partition("+")
    if not count.isdecimal():
        raise ValueError(f"A part must be slots, or slots+memory, not {text!r}")
    check_memory(memory or "auto")
    return check_count("Slots", int(count)), memory or "auto"


class RowStore(Component):
    """Keep the keys, or the values, of KV blocks in slots, and send tiles of them to lanes.

    ::

        rows --> [ slots of a part | slots of another | ... ] --> queue --> o
                    ^ fills, in order          ^ visits, in order, tile by tile

    Fills and visits come in one order, that of decisions. A visit with a fill of its own has its
    tiles as they arrive, and ends when the fill is complete; so a later visit of the same slot
    finds all of it. Rows lie as they came: token-major, a token's chunks side by side.

    A row a cycle each way; from a tile taken to ``o`` 2 cycles, or 4 if a part has several banks
    (:class:`~qkloom.rtl.cache.rows.RowMemory`). A visit costs a cycle beside its rows, a tile none.

    Parameters
    ----------
    parts : tuple of str
        Slots of each memory, and behind them what it is made of if that is not left to synthesis:
        ``"64"``, ``"64+ultra"`` (:mod:`~qkloom.rtl.memory`). Slots are numbered through.
    n_lanes : int
        Lanes.
    size, block, head_dim : int
        Rows and columns of an array; tokens of a block; largest head dimension.
    element_width : int
        Bits of an element.
    bank : int
        Rows of a bank, a power of two.

    Members
    -------
    d_tiles : In
        Chunks of a token, of this call.
    fills : In(stream)
        :func:`fill_layout`.
    rows : In(stream)
        Rows of the fills: whole tiles of ``size`` tokens.
    visits : In(stream)
        :func:`serve_layout`. Each is taken with its end.
    tiles : In(stream)
        :func:`tile_layout`: tiles of a visit from its first one on, then its end.
    o : Out(stream)
        :func:`~qkloom.rtl.mover.frame.row_layout`: rows for lanes.
    served : Out(1)
        A visit has ended, in the cycle before: all its rows have been read.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a part is none.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        parts: tuple[str, ...],
        n_lanes: int,
        size: int,
        block: int,
        head_dim: int,
        element_width: int,
        bank: int = 1 << 15,
    ) -> None:
        numbers = {
            "Number of lanes": n_lanes,
            "Size": size,
            "Block": block,
            "Head dimension": head_dim,
            "Element width": element_width,
        }
        for name, value in numbers.items():
            check_count(name, value)
        self._parts = [_part(text) for text in parts]
        slots = sum(n for n, _ in self._parts)
        self._size, self._tiles = size, -(-block // size)
        self._bits = ceil_log2(self._tiles * head_dim)  # of a row's number in its slot
        memory: dict[str, Any] = {"width": size * element_width, "bank": bank}
        self._memories = [
            {**memory, "depth": n << self._bits, "memory": of} for n, of in self._parts
        ]
        self._latency = max(row_latency(depth=n << self._bits, bank=bank) for n, _ in self._parts)
        row = row_layout(to=n_lanes, size=size, element_width=element_width)
        self._item = row
        super().__init__(
            {
                "d_tiles": In(range(head_dim // size + 1)),
                "fills": In(stream.Signature(fill_layout(slots=slots, tiles=self._tiles))),
                "rows": In(stream.Signature(row["item"].shape["row"].shape)),
                "visits": In(stream.Signature(serve_layout(slots=slots))),
                "tiles": In(stream.Signature(tile_layout(n_lanes=n_lanes))),
                "o": Out(stream.Signature(row)),
                "served": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count rows, tokens and tiles on either side."""
        m = Module()
        fill, visit, tile = self.fills.payload, self.visits.payload, self.tiles.payload
        # Tiles of the oldest fill that has not ended, and fills that visits have yet to end.
        n_complete = Signal(range(_COMPLETE + 1))
        w_row, writes, _, w_tile_ends = self._walk(m, "w")
        n_filled, is_last_tile = count_to(m, fill.tiles, moves=w_tile_ends, name="filled")
        fill_ends, ends_fill = Signal(), Signal()  # on either side
        complete = count_level(
            m, n_complete, most=_COMPLETE, comes=fill_ends, goes=ends_fill, name="complete_"
        )
        m.d.comb += [
            self.rows.ready.eq(self.fills.valid & complete.has_room),
            writes.eq(self.rows.valid & self.rows.ready),
            fill_ends.eq(w_tile_ends & is_last_tile),
            self.fills.ready.eq(fill_ends),
        ]
        with m.If(fill_ends):
            m.d.sync += w_row.eq(0)

        # A tile is read when it is there, and the queue has room.
        depth = _DEPTH + self._latency
        m.submodules.queue = queue = Queue(shape=self._item, depth=depth)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        room = Signal(range(depth + 1), init=depth)
        came_back = Signal()
        r_row, reads, r_token_ends, r_tile_ends = self._walk(m, "r")
        number = Signal(range(self._tiles + 1))  # of the tile that is read
        is_complete = Signal()
        is_here = Signal()
        ends = Signal()
        places = count_level(m, room, most=depth, comes=came_back, goes=reads, name="room_")
        m.d.sync += came_back.eq(queue.o.valid & queue.o.ready)
        m.d.comb += [
            is_complete.eq(~visit.fetch | complete.has_some),
            is_here.eq(is_complete | (n_filled > number)),
            reads.eq(self.visits.valid & self.tiles.valid & ~tile.ends & is_here & places.has_some),
            ends.eq(self.visits.valid & self.tiles.valid & tile.ends & is_complete),
            ends_fill.eq(ends & visit.fetch),
            self.tiles.ready.eq(r_tile_ends | ends),
            self.visits.ready.eq(ends),
        ]
        with m.If(r_tile_ends):
            m.d.sync += number.eq(number + 1)
        with m.If(ends):
            m.d.sync += [number.eq(0), r_row.eq(0)]
        m.d.sync += self.served.eq(ends)

        # Memories, side by side. The shallower ones have their rows wait.
        item = queue.i.payload
        first = 0
        for part, ((n, _), parameters) in enumerate(zip(self._parts, self._memories, strict=True)):
            m.submodules[f"part_{part}"] = memory = RowMemory(**parameters)
            is_chosen = Signal(name=f"is_chosen_{part}")
            bits = ceil_log2(n)
            m.d.comb += [
                memory.w_addr.eq(Cat(w_row, (fill.slot - first)[:bits])),
                memory.w_data.eq(self.rows.payload.as_value()),
                memory.w_en.eq(writes & self._is_in(fill.slot, first, n)),
                memory.r_addr.eq(Cat(r_row, (visit.slot - first)[:bits])),
            ]
            chosen = delayed(
                m, self._is_in(visit.slot, first, n), self._latency, name=f"part_{part}_is"
            )
            wait = self._latency - memory.latency
            row = delayed(m, memory.r_data, wait, name=f"part_{part}_row")
            m.d.comb += is_chosen.eq(chosen)
            with m.If(is_chosen):
                m.d.comb += item.item.row.as_value().eq(row)
            first += n
        arrives = Signal(self._latency)
        m.d.sync += arrives.eq(Cat(reads, arrives))
        with_row = delayed(m, Cat(r_token_ends, tile.to), self._latency, name="with_row")
        m.d.comb += [
            item.item.last.eq(with_row[0]),
            item.to.eq(with_row[1:]),
            queue.i.valid.eq(arrives[-1]),
        ]
        return m

    def _is_in(self, slot: Signal, first: int, n: int) -> Value:
        """Tell whether a slot is one of those of a part."""
        return (slot >= first) & (slot < first + n)

    def _walk(self, m: Module, name: str) -> tuple[Signal, Signal, Signal, Signal]:
        """Count rows of a slot; return the number, what moves on, and what ends: token, tile."""
        row = Signal(self._bits, name=f"{name}_row")
        moves = Signal(name=f"{name}_moves")
        token_ends = Signal(name=f"{name}_token_ends")
        tile_ends = Signal(name=f"{name}_tile_ends")
        token = Signal(range(self._size), name=f"{name}_token")
        _, is_last = count_to(m, self.d_tiles, moves=moves, name=f"{name}_chunk")
        m.d.comb += [
            token_ends.eq(is_last),
            tile_ends.eq(moves & is_last & (token == self._size - 1)),
        ]
        with m.If(moves):
            m.d.sync += row.eq(row + 1)
            with m.If(is_last):
                m.d.sync += token.eq(Mux(token == self._size - 1, 0, token + 1))
        return row, moves, token_ends, tile_ends
