"""Means of blocks of tokens: queries and keys of a head, pooled."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..formats import Integer, ceil_log2
from ..lane.job import index
from .block_means import BlockMeans, check_block
from .block_sums import BlockSums
from .dot import beats_of, vector_layout

__all__ = ["BlockPool"]


class BlockPool(Component):
    """Average the tokens of each block, element by element.

    ::

        i --> register --> (+) <--> sums of two blocks --> means of blocks --> o

    While the sums of one block are multiplied, a few at a time, those of the next one are made: in
    less than half of the time that these take to come. So with blocks of eight tokens and more a
    head goes in at a chunk a cycle, if ``o`` is taken. Between heads it is two cycles more, and up
    to half a block's time if the last block of the one before was short.

    The last chunk of a block's means comes 7 cycles after the block's last one, and those that it
    takes to multiply all: see :class:`~qkloom.rtl.index.block_means.BlockMeans`, also for what a
    mean is.

    Parameters
    ----------
    size : int
        Elements of a chunk.
    head_dim : int
        Most elements of a token, a multiple of ``size``.
    block : int
        Tokens of a block: a power of two from 2 to 128.
    tokens : int
        Most tokens of a head.
    width : int
        Bits of an element, signed; up to 8.
    fraction : int
        Bits of a mean below the last place of an element; up to 8.

    Members
    -------
    call : In(stream)
        ``tokens`` of a head, 1 at least; ``filled``: tokens come in whole tiles of ``size``, and
        what is beyond is dropped.
    i : In(stream)
        Chunks of a head, token-major: ``row``, and ``last`` on a token's last one. All tokens of
        a head have the same number of chunks.
    o : Out(stream)
        Chunks of means: :func:`~qkloom.rtl.index.dot.vector_layout`, ``last`` of a block's,
        ``done`` with the head's last one.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, out of range, or ``head_dim`` no multiple of
        ``size``.
    """

    def __init__(
        self,
        *,
        size: int,
        head_dim: int,
        block: int,
        tokens: int,
        width: int = 8,
        fraction: int = 4,
    ) -> None:
        self._chunks = beats_of(width=size, head_dim=head_dim)
        check_block(block)
        check_count("Tokens", tokens)
        self._means: dict[str, Any] = {
            "size": size,
            "head_dim": head_dim,
            "block": block,
            "width": width,
            "fraction": fraction,
            "tag": data.StructLayout({"done": 1}),
        }
        pass_over(BlockMeans(**self._means))
        self._size, self._block, self._width = size, block, width
        call = data.StructLayout({"tokens": range(tokens + 1), "filled": 1})
        chunk = data.StructLayout({"row": data.ArrayLayout(Integer(width), size), "last": 1})
        mean = vector_layout(Integer(width + fraction), size)
        super().__init__(
            {
                "call": In(stream.Signature(call)),
                "i": In(stream.Signature(chunk)),
                "o": Out(stream.Signature(mean)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Add up a block while the one before is multiplied."""
        m = Module()
        size, chunk = self._size, self.i.payload
        block_bits, chunk_bits = ceil_log2(self._block), ceil_log2(self._chunks)

        # What is done with a chunk: it is added, or it fills a tile.
        left = Signal.like(self.call.payload.tokens, reset_less=True)  # behind the one at hand
        is_filled = Signal(reset_less=True)
        begins = Signal()
        takes = Signal()
        drops = Signal()
        enters = Signal()
        moves = Signal()
        is_end = Signal()
        is_block_end = Signal()
        block_end = Signal()
        # A bank is full until its sums have been multiplied.
        full = Signal(2)
        r_bank = Signal()
        w_bank = Signal()
        has_room = Signal()
        # Which token is the last one, of a block or of all, is found out a token ahead.
        is_last_token = Signal(reset_less=True)
        is_last_in_block = Signal()
        is_first_in_block = Signal(init=1)
        place = Signal(index(size))  # in a tile
        is_tile_end = Signal()
        in_block = Signal(block_bits)
        w_chunk = Signal(index(self._chunks))
        m.d.comb += [
            has_room.eq(~Mux(w_bank, full[1], full[0])),
            self.call.ready.eq(~begins & ~takes & ~drops),
            self.i.ready.eq((takes & has_room) | drops),
            moves.eq(self.i.valid & self.i.ready),
            enters.eq(self.i.valid & takes & has_room),
            is_end.eq(moves & chunk.last),
            is_tile_end.eq(place == size - 1),
            is_block_end.eq(is_last_in_block | is_last_token),
            block_end.eq(enters & chunk.last & is_block_end),
        ]
        with m.If(moves):
            m.d.sync += w_chunk.eq(Mux(chunk.last, 0, w_chunk + 1))
        with m.If(is_end):
            m.d.sync += place.eq(Mux(is_tile_end, 0, place + 1))
        with m.If(enters & chunk.last):
            m.d.sync += [
                in_block.eq(Mux(is_block_end, 0, in_block + 1)),
                is_first_in_block.eq(is_block_end),
                is_last_in_block.eq(~is_block_end & (in_block == self._block - 2)),
            ]
        with m.If(begins | (enters & chunk.last)):
            m.d.sync += [left.eq(left - 1), is_last_token.eq(left == 1)]
        with m.If(block_end):
            m.d.sync += [w_bank.eq(~w_bank), full.bit_select(w_bank, 1).eq(1)]
        with m.If(self.call.valid & self.call.ready):
            m.d.sync += [
                left.eq(self.call.payload.tokens),
                is_filled.eq(self.call.payload.filled),
                begins.eq(1),
                place.eq(0),
            ]
        with m.If(begins):
            m.d.sync += [begins.eq(0), takes.eq(1)]
        with m.If(block_end & is_last_token):
            m.d.sync += [takes.eq(0), drops.eq(is_filled & ~is_tile_end)]
        with m.If(drops & is_end & is_tile_end):
            m.d.sync += drops.eq(0)

        # A cycle later it is added to what its block has.
        m.submodules.sums = sums = BlockSums(
            size=size, places=2 << chunk_bits, width=self._width, tokens=self._block
        )
        m.d.comb += [
            sums.adds.eq(enters),
            sums.begins.eq(is_first_in_block),
            sums.row.eq(chunk.row),
            sums.w_place.eq(Cat(w_chunk[:chunk_bits], w_bank)),
        ]

        # What is known of a block when its tokens are there.
        m.submodules.means = means = BlockMeans(**self._means)
        blocks = Signal(data.ArrayLayout(means.i.payload.shape(), 2), reset_less=True)
        for bank in range(2):
            with m.If(block_end & (w_bank == bank)):
                m.d.sync += [
                    blocks[bank].tokens.eq(in_block),
                    blocks[bank].chunk.eq(w_chunk),
                    blocks[bank].tag.done.eq(is_last_token),
                ]
        m.d.comb += [
            means.i.valid.eq(Mux(r_bank, full[1], full[0])),
            means.i.payload.eq(Mux(r_bank, blocks[1], blocks[0])),
            sums.r_place.eq(Cat(means.chunk[:chunk_bits], r_bank)),
            means.sums.eq(sums.o),
            self.o.valid.eq(means.o.valid),
            means.o.ready.eq(self.o.ready),
            self.o.payload.x.eq(means.o.payload.x),
            self.o.payload.last.eq(means.o.payload.last),
            self.o.payload.done.eq(means.o.payload.last & means.o.payload.tag.done),
        ]
        with m.If(means.i.valid & means.i.ready):
            m.d.sync += [r_bank.eq(~r_bank), full.bit_select(r_bank, 1).eq(0)]
        return m
