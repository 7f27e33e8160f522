"""Vectors of all blocks of a head, kept to be read in wide beats."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Fixed, ceil_log2
from ..lane.job import index
from .dot import beats_of, vector_layout

__all__ = ["VectorMemory"]


class VectorMemory(Component):
    """Take vectors in chunks; give them in beats of several chunks.

    What a vector lacks of its last beat is 0.

    Parameters
    ----------
    size : int
        Elements of a chunk.
    width : int
        Elements of a beat, a multiple of ``size``.
    head_dim : int
        Most elements of a vector, a multiple of ``width``.
    vectors : int
        Most vectors.
    element : Fixed
        Format of an element.

    Members
    -------
    i : In(stream)
        Chunks: :func:`~qkloom.rtl.index.dot.vector_layout`; ``done`` with the last of all vectors,
        which have the same number of chunks. Ready while ``loads``.
    loads : In(1)
        Vectors are loaded, those that were there before are lost. It falls a cycle after ``done``.
    done : Out(1)
        The last chunk is taken. Two cycles later all can be read.
    vectors : Out
        How many there are.
    beats : Out
        How many each of them has.
    vector, beat : In
        What is read; ``beat`` if there may be several.
    o : Out
        The beat, a cycle later.

    Raises
    ------
    TypeError, ValueError
        When a number is not a positive integer, or no multiple of what it must be.
    """

    def __init__(
        self, *, size: int, width: int, head_dim: int, vectors: int, element: Fixed
    ) -> None:
        check_count("Size", size)
        self._beats = beats_of(width=width, head_dim=head_dim)
        if width % size:
            raise ValueError(f"Width must be a multiple of the size, {size}, not {width}")
        check_count("Number of vectors", vectors)
        self._size, self._banks, self._vectors = size, width // size, vectors
        self._chunk = data.ArrayLayout(element, size)
        members: dict[str, Any] = {
            "i": In(stream.Signature(vector_layout(element, size))),
            "loads": In(1),
            "done": Out(1),
            "vectors": Out(range(vectors + 1)),
            "beats": Out(range(self._beats + 1)),
            "vector": In(index(vectors)),
            "o": Out(data.ArrayLayout(element, width)),
        }
        if self._beats > 1:
            members["beat"] = In(index(self._beats))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Write a chunk a cycle later; the first one of a beat clears the others."""
        m = Module()
        chunk = self.i.payload
        beat_bits, vector_bits = ceil_log2(self._beats), ceil_log2(self._vectors)
        moves = Signal()
        bank = Signal(self._banks, init=1)  # one bit for each
        beat = Signal(index(self._beats))
        vector = Signal.like(self.vectors)
        m.d.comb += [
            self.i.ready.eq(self.loads),
            moves.eq(self.i.valid & self.loads),
            self.done.eq(moves & chunk.done),
        ]
        with m.If(moves):
            m.d.sync += bank.eq(Mux(chunk.last, 1, Cat(bank[-1], bank[:-1])))
            with m.If(bank[-1] | chunk.last):
                m.d.sync += beat.eq(Mux(chunk.last, 0, beat + 1))
            with m.If(chunk.last):
                m.d.sync += vector.eq(Mux(chunk.done, 0, vector + 1))
            with m.If(chunk.done):
                m.d.sync += [self.vectors.eq(vector + 1), self.beats.eq(beat + 1)]

        r_beat = self.beat if self._beats > 1 else Const(0, 0)
        address = Signal(beat_bits + vector_bits, reset_less=True)
        m.d.sync += address.eq(Cat(beat[:beat_bits], vector[:vector_bits]))
        for k in range(self._banks):
            m.submodules[f"bank_{k}"] = memory = Memory(
                shape=self._chunk, depth=1 << beat_bits + vector_bits, init=[]
            )
            w_port, r_port = memory.write_port(), memory.read_port()
            row = Signal(self._chunk, name=f"row_{k}", reset_less=True)
            m.d.sync += [
                row.eq(Mux(bank[0], Const(0), chunk.x) if k else chunk.x),
                w_port.en.eq(moves & (bank[k] | bank[0])),
            ]
            m.d.comb += [
                w_port.addr.eq(address),
                w_port.data.eq(row),
                r_port.addr.eq(Cat(r_beat, self.vector[:vector_bits])),
            ]
            start = k * self._size
            for j in range(self._size):
                m.d.comb += self.o[start + j].eq(r_port.data[j])
        return m
