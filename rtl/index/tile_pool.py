"""Means of blocks of tokens of several heads, whose tiles take turns."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..formats import Integer, ceil_log2
from ..lane.job import index
from ..stream import Queue, WideSlice, connect_stream
from .block_means import BlockMeans, check_block
from .block_sums import BlockSums
from .dot import beats_of

__all__ = ["TilePool", "tile_row_layout"]


def tile_row_layout(*, size: int, width: int, heads: int) -> data.StructLayout:
    """Return a chunk of a token: ``row``, ``last`` of the token's, ``key_head``: whose it is."""
    row = data.ArrayLayout(Integer(width), size)
    return data.StructLayout({"row": row, "last": 1, "key_head": index(heads)})


class TilePool(Component):
    """Average the tokens of each block, element by element, of heads that come tile by tile.

    ::

        i --> place, flags --> slice --> (+) <--> sums, two blocks of each head --> means --> o
                                          |                                          ^
                                          +--> queue of blocks that are complete ----+

    A *round* is the first tile (``size`` tokens) of head 0, that of head 1 and so on, the second
    tile of head 0, ... . A tile of head 0 behind its last one begins the next round: so how many
    heads there are need not be told, and may differ. What a tile has beyond the tokens is dropped.

    Blocks of eight tokens and more go in at a chunk a cycle, if ``o`` is taken: see
    :class:`~qkloom.rtl.index.block_means.BlockMeans`, also for what a mean is. Blocks of several
    heads that end one after the other wait for one another, until their heads' next blocks end.

    Parameters
    ----------
    size : int
        Elements of a chunk, and tokens of a tile.
    head_dim : int
        Most elements of a token, a multiple of ``size``.
    block : int
        Tokens of a block: a power of two from 2 to 128, a multiple of ``size``.
    tokens : int
        Most tokens of a head.
    heads : int
        Most heads of a round.
    width : int
        Bits of an element, signed; up to 8.
    fraction : int
        Bits of a mean below the last place of an element; up to 8.

    Members
    -------
    call : In(stream)
        ``tokens`` of each head of the rounds that follow, 1 at least. Taken between tiles; whoever
        sends it sees to it that it comes between rounds, and rows behind it.
    i : In(stream)
        :func:`tile_row_layout`. All tokens of a round have the same number of chunks.
    may_begin : In(1)
        A round may begin.
    begins : Out(1)
        A round begins.
    o : Out(stream)
        Chunks of means: ``x``, ``last`` of a block's. ``tag``: ``key_head``, ``block``, ``done``:
        it is the head's last block; ``round``: 0 of the first round, then 1 and 0 by turns.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, out of range, or no multiple of what it must be.
    """

    def __init__(
        self,
        *,
        size: int,
        head_dim: int,
        block: int,
        tokens: int,
        heads: int,
        width: int = 8,
        fraction: int = 4,
    ) -> None:
        self._chunks = beats_of(width=size, head_dim=head_dim)
        if check_block(block) % size:
            raise ValueError(f"Block must be a multiple of the size, {size}, not {block}")
        self._tokens = check_count("Tokens", tokens)
        self._heads = check_count("Heads", heads)
        self._size, self._block, self._width = size, block, width
        self._tag = data.StructLayout(
            {"key_head": index(heads), "block": index(-(-tokens // block)), "round": 1, "done": 1}
        )
        self._means: dict[str, Any] = {
            "size": size,
            "head_dim": head_dim,
            "block": block,
            "width": width,
            "fraction": fraction,
            "tag": self._tag,
        }
        pass_over(means := BlockMeans(**self._means))
        super().__init__(
            {
                "call": In(stream.Signature(data.StructLayout({"tokens": range(tokens + 1)}))),
                "i": In(stream.Signature(tile_row_layout(size=size, width=width, heads=heads))),
                "may_begin": In(1),
                "begins": Out(1),
                "o": Out(stream.Signature(means.o.payload.shape())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Find out what is to be done with a row; a cycle later do it."""
        m = Module()
        size_bits, block_bits = ceil_log2(self._size), ceil_log2(self._block)
        chunk_bits, tile_bits = ceil_log2(self._chunks), block_bits - size_bits
        m.submodules.means = means = BlockMeans(**self._means)
        about = data.StructLayout({"means": means.i.payload.shape(), "bank": 1})
        row = data.StructLayout(
            {
                "row": self.i.payload.row.shape(),
                "chunk": index(self._chunks),
                "begins_round": 1,
                "begins": 1,  # a sum
                "ends": 1,  # a block
                "drops": 1,
                "block": about,
            }
        )
        m.submodules.slice = front = WideSlice(shape=row)

        # What a call says, ready two cycles later.
        most_tiles = -(-self._tokens // self._size)
        last_token = Signal(range(self._tokens), reset_less=True)
        n_tiles = Signal(range(most_tiles + 1), reset_less=True)
        is_single = Signal(reset_less=True)
        settles = Signal(3)
        takes = Signal()
        in_tile = Signal()
        m.d.comb += self.call.ready.eq(~in_tile & ~settles.any())
        m.d.sync += [
            settles.eq(settles << 1),
            n_tiles.eq((last_token >> size_bits) + 1),
            is_single.eq(n_tiles == 1),
        ]
        with m.If(self.call.valid & self.call.ready):
            m.d.sync += [
                last_token.eq(self.call.payload.tokens - 1),
                settles.eq(1),
                takes.eq(0),
            ]

        # Where a row is in its tile.
        moves = Signal()
        begins_tile = Signal()  # of head 0, and so of all
        ends_token = Signal()
        ends_tile = Signal()
        chunk = Signal(index(self._chunks))
        place = Signal(index(self._size))
        m.d.comb += [
            self.i.ready.eq(takes & front.i.ready),
            front.i.valid.eq(takes & self.i.valid),
            moves.eq(self.i.valid & self.i.ready),
            begins_tile.eq(~in_tile & (self.i.payload.key_head == 0)),
            ends_token.eq(moves & self.i.payload.last),
            ends_tile.eq(place == self._size - 1),
        ]
        with m.If(moves):
            m.d.sync += [
                chunk.eq(Mux(self.i.payload.last, 0, chunk + 1)),
                in_tile.eq(~(self.i.payload.last & ends_tile)),
            ]
        with m.If(ends_token):
            m.d.sync += place.eq(Mux(ends_tile, 0, place + 1))

        # Head 0's next tile, with what is asked of it at hand; and the tile that is there.
        tile = data.StructLayout(
            {"number": range(most_tiles), "round": 1, "bank": 1, "is_first": 1, "is_last": 1}
        )
        ahead = Signal(range(most_tiles + 3), init=2)  # of the one after the next, from 1 on
        following = Signal(tile, init={"is_first": 1, "round": 0})
        at_hand = Signal(tile)
        here = Signal(tile)
        full_block = (1 << tile_bits) - 1
        wraps = Signal()
        ends_block = Signal()
        m.d.comb += [
            here.eq(Mux(begins_tile, following, at_hand)),
            wraps.eq((following.number[:tile_bits] == full_block) | following.is_last),
        ]
        with m.If(moves & begins_tile):
            m.d.sync += [
                at_hand.eq(following),
                following.is_first.eq(following.is_last),
                following.bank.eq(following.bank ^ wraps),
                following.round.eq(following.round ^ following.is_last),
            ]
            with m.If(following.is_last):
                m.d.sync += [following.number.eq(0), ahead.eq(2), following.is_last.eq(is_single)]
            with m.Else():
                m.d.sync += [
                    following.number.eq(following.number + 1),
                    ahead.eq(ahead + 1),
                    following.is_last.eq(ahead == n_tiles),
                ]
        with m.If(settles[2]):
            m.d.sync += [takes.eq(1), following.is_last.eq(is_single)]

        # What is to be done with the row.
        is_end = Signal()
        beyond = Signal()
        last_place = last_token[:size_bits]
        full_tile = Const((1 << size_bits) - 1, size_bits)
        place_of_end = Signal(size_bits)
        m.d.comb += [
            place_of_end.eq(Mux(here.is_last, last_place, full_tile)),
            is_end.eq(Mux(here.is_last, place[:size_bits] == last_place, ends_tile)),
            ends_block.eq((here.number[:tile_bits] == full_block) | here.is_last),
        ]
        with m.If(ends_token):
            m.d.sync += beyond.eq((beyond | is_end) & ~ends_tile)
        item, block = front.i.payload, front.i.payload.block.means
        m.d.comb += [
            item.row.eq(self.i.payload.row),
            item.chunk.eq(chunk),
            item.begins_round.eq(begins_tile & following.is_first),
            item.begins.eq((here.number[:tile_bits] == 0) & (place == 0)),
            item.ends.eq(self.i.payload.last & is_end & ends_block & ~beyond),
            item.drops.eq(beyond),
            item.block.bank.eq(here.bank),
            block.tokens.eq(Cat(place_of_end, here.number[:tile_bits])),
            block.chunk.eq(chunk),
            block.tag.key_head.eq(self.i.payload.key_head),
            block.tag.block.eq(here.number[tile_bits:]),
            block.tag.round.eq(here.round),
            block.tag.done.eq(here.is_last),
        ]

        # It is added when its sums have been read that were there before.
        now, blocks = front.o.payload, 2 << ceil_log2(self._heads)
        full = Signal(blocks)
        place_of_block = Signal(range(blocks))
        has_room = Signal()
        adds = Signal()
        ends = Signal()
        m.submodules.sums = sums = BlockSums(
            size=self._size, places=blocks << chunk_bits, width=self._width, tokens=self._block
        )
        m.submodules.queue = queue = Queue(shape=about, depth=2 * self._heads, registered=True)
        m.d.comb += [
            place_of_block.eq(_place(now.block)),
            has_room.eq(
                (now.drops | ~full.bit_select(place_of_block, 1))
                & (~now.begins_round | self.may_begin)
            ),
            front.o.ready.eq(has_room),
            self.begins.eq(front.o.valid & has_room & now.begins_round),
            adds.eq(front.o.valid & has_room & ~now.drops),
            ends.eq(adds & now.ends),
            sums.adds.eq(adds),
            sums.begins.eq(now.begins),
            sums.row.eq(now.row),
            sums.w_place.eq(Cat(now.chunk[:chunk_bits], place_of_block)),
        ]
        # There is room for all; a register, since much has been asked by then.
        m.d.sync += [queue.i.valid.eq(ends), queue.i.payload.eq(now.block)]

        # Complete blocks, one after the other.
        read = Signal(range(blocks))
        m.d.comb += [
            read.eq(_place(queue.o.payload)),
            means.i.valid.eq(queue.o.valid),
            queue.o.ready.eq(means.i.ready),
            means.i.payload.eq(queue.o.payload.means),
            sums.r_place.eq(Cat(means.chunk[:chunk_bits], read)),
            means.sums.eq(sums.o),
        ]
        for number in range(blocks):
            with m.If(ends & (place_of_block == number)):
                m.d.sync += full[number].eq(1)
            with m.Elif(means.i.valid & means.i.ready & (read == number)):
                m.d.sync += full[number].eq(0)
        connect_stream(m, means.o, wiring.flipped(self.o))
        return m


def _place(block: Any) -> Any:
    """Return where the sums of a block are."""
    return Cat(block.bank, block.means.tag.key_head)
