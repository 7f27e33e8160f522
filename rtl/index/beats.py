"""A memory of vectors: written in chunks, read in wide beats."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Fixed, ceil_log2
from ..lane.job import index
from ..memory import memory_attributes
from .dot import beats_of

__all__ = ["BeatMemory"]


class BeatMemory(Component):
    """Keep vectors in as many banks as a beat has chunks.

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
        Vectors that there is room for.
    element : Fixed
        Format of an element.
    memory : str
        What vectors are kept in: ``"auto"``, what synthesis finds best; ``"ultra"``, UltraRAM.

    Members
    -------
    writes : In(1)
        The next chunk is there: ``x`` of vector ``w_vector``, ``last``: it ends the vector. It can
        be read two cycles later.
    w_beat : Out
        The beat that it belongs to.
    vector, beat : In
        What is read; ``beat`` if there may be several.
    o : Out
        The beat, a cycle later.

    Raises
    ------
    TypeError, ValueError
        When a number is not a positive integer, or no multiple of what it must be, or the memory is
        unknown.
    """

    def __init__(
        self,
        *,
        size: int,
        width: int,
        head_dim: int,
        vectors: int,
        element: Fixed,
        memory: str = "auto",
    ) -> None:
        check_count("Size", size)
        self._beats = beats_of(width=width, head_dim=head_dim)
        if width % size:
            raise ValueError(f"Width must be a multiple of the size, {size}, not {width}")
        check_count("Number of vectors", vectors)
        self._attributes = memory_attributes(memory)
        self._size, self._banks, self._vectors = size, width // size, vectors
        self._chunk = data.ArrayLayout(element, size)
        members: dict[str, Any] = {
            "writes": In(1),
            "x": In(self._chunk),
            "last": In(1),
            "w_vector": In(index(vectors)),
            "w_beat": Out(index(self._beats)),
            "vector": In(index(vectors)),
            "o": Out(data.ArrayLayout(element, width)),
        }
        if self._beats > 1:
            members["beat"] = In(index(self._beats))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Write a chunk a cycle later; the first one of a beat clears the others."""
        m = Module()
        beat_bits, vector_bits = ceil_log2(self._beats), ceil_log2(self._vectors)
        bank = Signal(self._banks, init=1)  # one bit for each
        with m.If(self.writes):
            m.d.sync += bank.eq(Mux(self.last, 1, Cat(bank[-1], bank[:-1])))
            with m.If(bank[-1] | self.last):
                m.d.sync += self.w_beat.eq(Mux(self.last, 0, self.w_beat + 1))

        r_beat = self.beat if self._beats > 1 else Const(0, 0)
        address = Signal(beat_bits + vector_bits, reset_less=True)
        m.d.sync += address.eq(Cat(self.w_beat[:beat_bits], self.w_vector[:vector_bits]))
        for k in range(self._banks):
            m.submodules[f"bank_{k}"] = memory = Memory(
                shape=self._chunk,
                depth=self._vectors << beat_bits,
                init=[],
                attrs=self._attributes,
            )
            w_port, r_port = memory.write_port(), memory.read_port()
            row = Signal(self._chunk, name=f"row_{k}", reset_less=True)
            m.d.sync += [
                row.eq(Mux(bank[0], Const(0), self.x) if k else self.x),
                w_port.en.eq(self.writes & (bank[k] | bank[0])),
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
