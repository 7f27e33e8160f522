"""Means of the keys of rounds of KV heads: of one round while those of the next one are made."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component, pass_over
from ..formats import Integer, ceil_log2
from ..lane.job import index
from ..stream import connect_stream
from ..stream.level import count_level
from .beats import BeatMemory
from .tile_pool import TilePool

__all__ = ["KeyStore"]


class KeyStore(Component):
    """Keep the means of all blocks of a round's KV heads, to be read in wide beats.

    ::

        i --> tile pool --> memory: two rounds x KV heads x blocks --> o

    There are two banks, by turns for a round each: one is filled while the other one is read, and
    until it is released. The round after these waits.

    Parameters
    ----------
    size, head_dim, block, tokens, width, fraction
        As of :class:`~qkloom.rtl.index.tile_pool.TilePool`.
    dot_width : int
        Elements of a beat, a multiple of ``size`` that divides ``head_dim``.
    key_heads : int
        Most KV heads of a round.
    memory : str
        What means are kept in: ``"auto"``, what synthesis finds best; ``"ultra"``, UltraRAM.

    Members
    -------
    call : In(stream)
        ``tokens`` of each KV head of the rounds that follow, 1 at least. Taken when all rounds
        before have been released; rows come behind it.
    i : In(stream)
        Rows of rounds, tile by tile: see the pool.
    complete : Out(key_heads)
        A bit for each KV head: its means of the older round can be read.
    releases : In(1)
        The older round is not needed any more: all of its KV heads are complete.
    key_head, vector, beat : In
        What is read of the older round: a block; ``beat`` if there may be several.
    o : Out
        The beat, a cycle later.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, out of range, or no multiple of what it must be.
    """

    def __init__(
        self,
        *,
        size: int,
        dot_width: int,
        head_dim: int,
        block: int,
        tokens: int,
        key_heads: int,
        width: int = 8,
        fraction: int = 4,
        memory: str = "auto",
    ) -> None:
        self._key_heads = check_count("KV heads", key_heads)
        self._pool: dict[str, Any] = {
            "size": size,
            "head_dim": head_dim,
            "block": block,
            "tokens": tokens,
            "heads": key_heads,
            "width": width,
            "fraction": fraction,
        }
        pass_over(pool := TilePool(**self._pool))
        blocks = -(-tokens // block)
        self._block_bits = ceil_log2(blocks)
        self._memory: dict[str, Any] = {
            "size": size,
            "width": dot_width,
            "head_dim": head_dim,
            "vectors": 2 * key_heads << self._block_bits,
            "element": Integer(width + fraction),
            "memory": memory,
        }
        pass_over(means := BeatMemory(**self._memory))
        self._has_beats = head_dim > dot_width
        members: dict[str, Any] = {
            "call": In(stream.Signature(pool.call.payload.shape())),
            "i": In(stream.Signature(pool.i.payload.shape())),
            "complete": Out(key_heads),
            "releases": In(1),
            "key_head": In(index(key_heads)),
            "vector": In(index(blocks)),
            "o": Out(means.o.shape()),
        }
        if self._has_beats:
            members["beat"] = In(means.beat.shape())
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Let a round begin when there is a bank, and say what is complete."""
        m = Module()
        m.submodules.pool = pool = TilePool(**self._pool)
        m.submodules.memory = memory = BeatMemory(**self._memory)
        connect_stream(m, wiring.flipped(self.i), pool.i)
        n_rounds = Signal(range(3))
        rounds = count_level(
            m, n_rounds, most=2, comes=pool.begins, goes=self.releases, name="rounds_"
        )
        older = Signal()
        with m.If(self.releases):
            m.d.sync += older.eq(~older)
        head_bits = ceil_log2(self._key_heads)
        mean = pool.o.payload
        m.d.comb += [
            pool.call.payload.eq(self.call.payload),
            pool.call.valid.eq(self.call.valid & ~rounds.has_some),
            self.call.ready.eq(pool.call.ready & ~rounds.has_some),
            pool.may_begin.eq(rounds.has_room),
            pool.o.ready.eq(1),
            memory.writes.eq(pool.o.valid),
            memory.x.eq(mean.x),
            memory.last.eq(mean.last),
            memory.w_vector.eq(
                Cat(
                    mean.tag.block[: self._block_bits],
                    mean.tag.round,
                    mean.tag.key_head[:head_bits],
                )
            ),
            memory.vector.eq(
                Cat(self.vector[: self._block_bits], older, self.key_head[:head_bits])
            ),
            self.o.eq(memory.o),
        ]
        if self._has_beats:
            m.d.comb += memory.beat.eq(self.beat)

        # A chunk can be read two cycles after it is given.
        ends = Signal()
        ended = Signal(mean.tag.shape(), reset_less=True)
        done = Signal(data.ArrayLayout(self._key_heads, 2))
        m.d.comb += self.complete.eq(Mux(older, done[1], done[0]))
        m.d.sync += [
            ends.eq(pool.o.valid & mean.last & mean.tag.done),
            ended.eq(mean.tag),
        ]
        for bank in range(2):
            with m.If(self.releases & (older == bank)):
                m.d.sync += done[bank].eq(0)
            for head in range(self._key_heads):
                with m.If(ends & (ended.round == bank) & (ended.key_head == head)):
                    m.d.sync += done[bank][head].eq(1)
        return m
