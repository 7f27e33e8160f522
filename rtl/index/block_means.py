"""Means of blocks of tokens, from their sums."""

from typing import Any

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
from .dot import beats_of

__all__ = ["BlockMeans", "check_block"]

_ONE = 23
"""Bits of a reciprocal of a count."""
_LATENCY = Product.latency + 2
"""Cycles from the address of a chunk of sums to the means of its first group."""


def check_block(block: int) -> int:
    """Check the tokens of a block, and return them.

    Raises
    ------
    TypeError, ValueError
        When they are no power of two from 2 to 128.
    """
    check_count("Block", block, most=128)
    if block == 1 or block & block - 1:
        raise ValueError(f"Block must be a power of two from 2 to 128, not {block}")
    return block


class BlockMeans(Component):
    """Multiply the sums of a block by the reciprocal of how many tokens it has.

    ::

        sums --> group of a chunk --+
                                    v
        i --> table of reciprocals (*) --> chunk --> queue --> o

    Elements are multiplied ``ceil(2 * size / block)`` at a time: a block takes at most half of the
    cycles that its tokens take to come at a chunk a cycle, and one. Nothing in the pipeline can
    stall: a chunk begins when there is a place for it.

    A mean is ``sum * round(2**23 / tokens) / 2**23``, rounded to nearest, ties up.

    Parameters
    ----------
    size : int
        Elements of a chunk.
    head_dim : int
        Most elements of a block's sums, a multiple of ``size``.
    block : int
        Most tokens of a block: a power of two from 2 to 128.
    tag : shape-like
        Of what goes along with a block.
    width : int
        Bits of an element of a token, signed; up to 8.
    fraction : int
        Bits of a mean below the last place of an element; up to 8.

    Members
    -------
    i : In(stream)
        A block whose sums are there: ``tokens`` less 1, ``chunk``: its last one, ``tag``. Taken
        when its last sums are read.
    chunk : Out
        The chunk of sums that is read, of the block at ``i``.
    sums : In
        Its sums, in the same cycle.
    o : Out(stream)
        Chunks of means: ``x``, ``last`` of a block's, and its ``tag``.

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
        tag: Any,
        width: int = 8,
        fraction: int = 4,
    ) -> None:
        self._chunks = beats_of(width=size, head_dim=head_dim)
        check_block(block)
        check_count("Width", width, most=8)
        check_count("Fraction", fraction, most=8)
        self._size, self._block, self._fraction = size, block, fraction
        self._sum_width = width + ceil_log2(block)
        self._mean_width = width + fraction
        # Half of the time that a block takes to come leaves room for what is done once per block.
        self._multipliers = -(-2 * size // block)
        about = data.StructLayout(
            {"tokens": ceil_log2(block), "chunk": index(self._chunks), "tag": tag}
        )
        means = data.ArrayLayout(Integer(width + fraction), size)
        super().__init__(
            {
                "i": In(stream.Signature(about)),
                "chunk": Out(index(self._chunks)),
                "sums": In(data.ArrayLayout(signed(self._sum_width), size)),
                "o": Out(stream.Signature(data.StructLayout({"x": means, "last": 1, "tag": tag}))),
            }
        )

    @property
    def groups(self) -> int:
        """Cycles of a chunk."""
        return -(-self._size // self._multipliers)

    def elaborate(self, platform: object) -> Module:
        """Read, multiply and collect a group after the other."""
        m = Module()
        block = self.i.payload
        m.submodules.reciprocals = reciprocals = Memory(
            shape=_ONE + 1,
            depth=self._block,
            init=[((1 << _ONE) + n // 2) // n for n in range(1, self._block + 1)],
        )
        scale = reciprocals.read_port()
        tokens = Signal.like(block.tokens, reset_less=True)
        m.d.sync += tokens.eq(block.tokens)
        m.d.comb += scale.addr.eq(tokens)

        # Groups of a chunk, once there will be a place for it.
        n, groups = self._multipliers, self.groups
        runs = Signal()
        steps = Signal()
        starts = Signal()
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
            is_last_chunk.eq(self.chunk == block.chunk),
            self.i.ready.eq(steps & is_last_group & is_last_chunk),
        ]
        with m.If(steps):
            m.d.sync += [
                group.eq(Mux(is_last_group, 0, group + 1)),
                is_first_group.eq(is_last_group),
                is_last_group.eq(group == groups - 2 if groups > 1 else 1),
            ]
        with m.If(steps & is_last_group):
            m.d.sync += self.chunk.eq(Mux(is_last_chunk, 0, self.chunk + 1))
        with m.If(self.i.ready):
            m.d.sync += runs.eq(0)
        with m.Elif(self.i.valid):
            m.d.sync += runs.eq(1)

        # Multiplied, and put together again: nothing stops.
        word = Signal(data.ArrayLayout(signed(self._sum_width), n * groups), reset_less=True)
        means = Signal(data.ArrayLayout(Integer(self._mean_width), n * groups))
        drop = _ONE - self._fraction
        later = Cat(word.as_value()[n * self._sum_width :], Const(0, n * self._sum_width))
        m.d.sync += word.eq(Mux(is_first_group, self.sums.as_value(), later))
        new: list[Signal] = []
        for k in range(n):
            m.submodules[f"product_{k}"] = product = Product(
                a=Integer(_ONE + 1, is_signed=False),
                b=Integer(self._sum_width),
                constant=1 << drop - 1,
            )
            rounded = Signal(self._mean_width, name=f"mean_{k}")
            m.d.comb += [
                product.i_a.eq(scale.data),
                product.i_b.eq(word[k]),
                rounded.eq(product.o[drop : drop + self._mean_width]),
            ]
            new.append(rounded)
        collected = Signal(len(means.as_value()), reset_less=True)
        m.d.sync += collected.eq(Cat(collected, *new)[n * self._mean_width :])
        m.d.comb += means.eq(collected)

        ends = Signal(_LATENCY)
        flags = Cat(is_last_chunk, block.tag)
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=n_places)
        m.d.sync += ends.eq(Cat(steps & is_last_group, ends))
        out = queue.i.payload
        m.d.comb += [
            queue.i.valid.eq(ends[-1]),
            out.x.eq(means.as_value()[: self._size * self._mean_width]),
            Cat(out.last, out.tag).eq(delayed(m, flags, _LATENCY, name="flags")),
        ]
        connect_stream(m, queue.o, wiring.flipped(self.o))
        return m
