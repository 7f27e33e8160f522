"""Means of blocks of tokens: queries and keys of a head, pooled."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.job import index
from ..lane.pipeline import delayed
from ..product import Product
from ..stream import Queue, connect_stream
from ..stream.level import count_level
from .block_sums import BlockSums
from .dot import beats_of, vector_layout

__all__ = ["BlockPool"]

_ONE = 23
"""Bits of a reciprocal of a count."""
_LATENCY = Product.latency + 2
"""Cycles from the address of a chunk of sums to the means of its first group."""


class BlockPool(Component):
    """Average the tokens of each block, element by element.

    ::

        i --> register --> (+) <--> sums of two blocks --> group of a chunk
                                                                  |
        tokens in a block --> table of reciprocals ------------> (*) --> chunk --> queue --> o

    While the sums of one block are multiplied, a few at a time, those of the next one are made: in
    less than half of the time that these take to come. So with blocks of eight tokens and more a
    head goes in at a chunk a cycle, if ``o`` is taken. Between heads it is two cycles more, and up
    to half a block's time if the last block of the one before was short.

    Elements are multiplied ``ceil(2 * size / block)`` at a time. The last chunk of a block's means
    comes 7 cycles after the block's last one, and those that it takes to multiply all.

    A mean is ``sum * round(2**23 / tokens) / 2**23``, rounded to nearest, ties up.

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
        check_count("Block", block, most=128)
        if block == 1 or block & block - 1:
            raise ValueError(f"Block must be a power of two from 2 to 128, not {block}")
        check_count("Tokens", tokens)
        check_count("Width", width, most=8)
        check_count("Fraction", fraction, most=8)
        self._size, self._block, self._width, self._fraction = size, block, width, fraction
        self._sum_width = width + ceil_log2(block)
        # Half of the time that a block takes to come leaves room for what is done once per block.
        self._multipliers = -(-2 * size // block)
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
        element = signed(self._sum_width)

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
        leaves = Signal()
        # A bank is full until its sums have been multiplied.
        full = Signal(2)
        r_bank = Signal()
        w_bank = Signal()
        has_room = Signal()
        has_some = Signal()
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
            has_some.eq(Mux(r_bank, full[1], full[0])),
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
        about = data.StructLayout({"count": block_bits, "chunk": index(self._chunks), "done": 1})
        blocks = Signal(data.ArrayLayout(about, 2), reset_less=True)
        now = Signal(about)
        for bank in range(2):
            with m.If(block_end & (w_bank == bank)):
                m.d.sync += [
                    blocks[bank].count.eq(in_block),
                    blocks[bank].chunk.eq(w_chunk),
                    blocks[bank].done.eq(is_last_token),
                ]
        m.d.comb += now.eq(Mux(r_bank, blocks[1], blocks[0]))
        m.submodules.reciprocals = reciprocals = Memory(
            shape=_ONE + 1,
            depth=self._block,
            init=[((1 << _ONE) + n // 2) // n for n in range(1, self._block + 1)],
        )
        scale = reciprocals.read_port()
        count = Signal(block_bits, reset_less=True)
        m.d.sync += count.eq(now.count)
        m.d.comb += scale.addr.eq(count)

        # Groups of a chunk, once there will be a place for it.
        n = self._multipliers
        groups = -(-size // n)
        runs = Signal()
        steps = Signal()
        starts = Signal()
        r_chunk = Signal(index(self._chunks))
        group = Signal(index(groups))
        is_first_group = Signal(init=1)
        is_last_group = Signal(init=groups == 1)
        is_last_chunk = Signal()
        n_places = (_LATENCY + 4) // groups + 3
        n_chunks = Signal(range(n_places + 1))
        places = count_level(
            m,
            n_chunks,
            most=n_places,
            comes=starts,
            goes=self.o.valid & self.o.ready,
            name="places_",
        )
        m.d.comb += [
            steps.eq(runs & (~is_first_group | places.has_room)),
            starts.eq(runs & is_first_group & places.has_room),
            is_last_chunk.eq(r_chunk == now.chunk),
            leaves.eq(steps & is_last_group & is_last_chunk),
            sums.r_place.eq(Cat(r_chunk[:chunk_bits], r_bank)),
        ]
        with m.If(steps):
            m.d.sync += [
                group.eq(Mux(is_last_group, 0, group + 1)),
                is_first_group.eq(is_last_group),
                is_last_group.eq(group == groups - 2 if groups > 1 else 1),
            ]
        with m.If(steps & is_last_group):
            m.d.sync += r_chunk.eq(Mux(is_last_chunk, 0, r_chunk + 1))
        with m.If(leaves):
            m.d.sync += [runs.eq(0), r_bank.eq(~r_bank), full.bit_select(r_bank, 1).eq(0)]
        with m.Elif(has_some):
            m.d.sync += runs.eq(1)

        # Multiplied, and put together again: nothing stops.
        word = Signal(data.ArrayLayout(element, n * groups), reset_less=True)
        means = Signal(data.ArrayLayout(self.o.payload.x.shape().elem_shape, n * groups))
        mean_width = self._width + self._fraction
        drop = _ONE - self._fraction
        later = Cat(word.as_value()[n * self._sum_width :], Const(0, n * self._sum_width))
        m.d.sync += word.eq(Mux(is_first_group, sums.o.as_value(), later))
        new: list[Signal] = []
        for k in range(n):
            m.submodules[f"product_{k}"] = product = Product(
                a=Integer(_ONE + 1, is_signed=False),
                b=Integer(self._sum_width),
                constant=1 << drop - 1,
            )
            rounded = Signal(mean_width, name=f"mean_{k}")
            m.d.comb += [
                product.i_a.eq(scale.data),
                product.i_b.eq(word[k]),
                rounded.eq(product.o[drop : drop + mean_width]),
            ]
            new.append(rounded)
        collected = Signal(len(means.as_value()), reset_less=True)
        m.d.sync += collected.eq(Cat(collected, *new)[n * mean_width :])
        m.d.comb += means.eq(collected)

        ends = Signal(_LATENCY)
        flags = Cat(is_last_chunk, is_last_chunk & now.done)
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=n_places)
        m.d.sync += ends.eq(Cat(steps & is_last_group, ends))
        out = queue.i.payload
        m.d.comb += [
            queue.i.valid.eq(ends[-1]),
            out.x.eq(means.as_value()[: size * mean_width]),
            Cat(out.last, out.done).eq(delayed(m, flags, _LATENCY, name="flags")),
        ]
        connect_stream(m, queue.o, wiring.flipped(self.o))
        return m
