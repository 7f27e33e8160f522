"""Vectors of all blocks of a head, kept to be read in wide beats."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..component import Component, pass_over
from ..formats import Fixed
from ..lane.job import index
from .beats import BeatMemory
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
        self._beats = beats_of(width=width, head_dim=head_dim)
        pass_over(BeatMemory(**self.parameters))
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
        """Count the vectors as they are written."""
        m = Module()
        m.submodules.memory = memory = BeatMemory(**self.parameters)
        chunk = self.i.payload
        moves = Signal()
        vector = Signal.like(self.vectors)
        m.d.comb += [
            self.i.ready.eq(self.loads),
            moves.eq(self.i.valid & self.loads),
            self.done.eq(moves & chunk.done),
            memory.writes.eq(moves),
            memory.x.eq(chunk.x),
            memory.last.eq(chunk.last),
            memory.w_vector.eq(vector),
            memory.vector.eq(self.vector),
            self.o.eq(memory.o),
        ]
        if self._beats > 1:
            m.d.comb += memory.beat.eq(self.beat)
        with m.If(moves):
            with m.If(chunk.last):
                m.d.sync += vector.eq(Mux(chunk.done, 0, vector + 1))
            with m.If(chunk.done):
                m.d.sync += [self.vectors.eq(vector + 1), self.beats.eq(memory.w_beat + 1)]
        return m
