"""Sums of the tokens of a block, while those of another one are read."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.job import index

__all__ = ["BlockSums"]


class BlockSums(Component):
    """Add a chunk of a token to the sums of its place, one a cycle.

    Parameters
    ----------
    size : int
        Elements of a chunk.
    places : int
        Chunks of sums.
    width : int
        Bits of an element, signed.
    tokens : int
        Most tokens of a sum.

    Members
    -------
    adds : In(1)
        There is a chunk to be added: ``row``, at place ``w_place``; ``begins``: it is the first one
        of its sums. It can be read two cycles later.
    r_place : In
        The place that is read.
    o : Out
        Its sums, in the same cycle.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, size: int, places: int, width: int, tokens: int) -> None:
        check_count("Size", size)
        check_count("Number of places", places)
        check_count("Width", width)
        check_count("Tokens", tokens)
        self._size, self._places = size, places
        self._element = signed(width + ceil_log2(tokens))
        super().__init__(
            {
                "adds": In(1),
                "begins": In(1),
                "row": In(data.ArrayLayout(Integer(width), size)),
                "w_place": In(index(places)),
                "r_place": In(index(places)),
                "o": Out(data.ArrayLayout(self._element, size)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take the chunk into a register; add it a cycle later."""
        m = Module()
        # A token has few chunks: a memory of LUTs, read without a register, so that a chunk meets
        # what the one before has left.
        m.submodules.sums = memory = Memory(
            shape=self.o.shape(), depth=max(self._places, 2), init=[]
        )
        w_port = memory.write_port()
        a_port, r_port = (memory.read_port(domain="comb") for _ in range(2))
        row = Signal(self.row.shape(), reset_less=True)
        place = Signal.like(self.w_place, reset_less=True)
        begins = Signal(reset_less=True)
        m.d.sync += [
            row.eq(self.row),
            place.eq(self.w_place),
            begins.eq(self.begins),
            w_port.en.eq(self.adds),
        ]
        m.d.comb += [
            w_port.addr.eq(place),
            a_port.addr.eq(place),
            r_port.addr.eq(self.r_place),
            self.o.eq(r_port.data),
        ]
        for k in range(self._size):
            so_far = Signal(self._element, name=f"so_far_{k}")
            m.d.comb += [
                so_far.eq(Mux(begins, 0, a_port.data[k])),
                w_port.data[k].eq((so_far + row[k])[: self._element.width]),
            ]
        return m
