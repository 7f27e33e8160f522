"""Heads of which a block is on its way to memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index

__all__ = ["HeadsUnderWay"]


class HeadsUnderWay(Component):
    """Keep a head from the time at which its block leaves until the block is in memory.

    A register and a comparison by each asker for each of ``depth`` heads.

    Parameters
    ----------
    heads : int
        Most heads.
    depth : int
        Most blocks under way.
    askers : int
        Who want to know.

    Members
    -------
    put : In(1)
        A block of ``head`` leaves; only with ``has_room`` in this cycle.
    head : In
        Whose.
    has_room : Out(1)
        Another one may leave.
    written : In(stream)
        The oldest one is in memory. What the bit says does not matter.
    asked : array of In
        A head, for each asker.
    is_under_way : Out(askers)
        Whether there is a block of it under way, in the same cycle.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, heads: int, depth: int, askers: int) -> None:
        check_count("Heads", heads)
        self._depth = check_count("Blocks under way", depth)
        self._askers = check_count("Number of askers", askers)
        super().__init__(
            {
                "put": In(1),
                "head": In(index(heads)),
                "has_room": Out(1),
                "written": In(stream.Signature(1)),
                "asked": In(index(heads)).array(askers),
                "is_under_way": Out(askers),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Go round the registers: one pointer where blocks leave, one where they arrive."""
        m = Module()
        n = self._depth
        heads = [Signal(self.head.shape(), name=f"head_{k}", reset_less=True) for k in range(n)]
        is_there = Signal(n)
        oldest = Signal(index(n))
        free = Signal(index(n))
        arrives = Signal()
        m.d.comb += [
            self.has_room.eq(~is_there.all()),
            self.written.ready.eq(is_there.any()),
            arrives.eq(self.written.valid & self.written.ready),
        ]
        for k in range(n):
            with m.If(arrives & (oldest == k)):
                m.d.sync += is_there[k].eq(0)
            with m.If(self.put & (free == k)):
                m.d.sync += [heads[k].eq(self.head), is_there[k].eq(1)]
        for pointer, moves in ((oldest, arrives), (free, self.put)):
            with m.If(moves):
                m.d.sync += pointer.eq(Mux(pointer == n - 1, 0, pointer + 1))
        for asker in range(self._askers):
            same = Signal(n, name=f"same_{asker}")
            m.d.comb += [
                same.eq(Cat(head == self.asked[asker] for head in heads)),
                self.is_under_way[asker].eq((is_there & same).any()),
            ]
        return m
