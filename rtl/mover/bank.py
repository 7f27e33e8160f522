"""A bank of the collector: one unit of every beat."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2

__all__ = ["Bank"]


class Bank(Component):
    """A memory with an output that stays until it is taken.

    Every bank decides for itself when to read: so the gate that lets data in is there once for
    each, and drives no more pins than a unit has bits.

    Parameters
    ----------
    width : int
        Bits of a unit.
    depth : int
        Number of units.

    Members
    -------
    w_en, w_addr, w_data : In
        What to write.
    asks, taken : In(1)
        A read is wanted; the output is taken, if there is one.
    r_addr : In
        From where.
    r_data : Out(width)
        What was read last.
    reads : Out(1)
        The read that is wanted is done in this cycle.
    fetched : Out(1)
        The output has not been taken yet.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self._width, self._depth = check_count("Width", width), check_count("Depth", depth)
        address = In(max(ceil_log2(depth), 1))
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": address,
                "w_data": In(width),
                "asks": In(1),
                "taken": In(1),
                "r_addr": address,
                "r_data": Out(width),
                "reads": Out(1),
                "fetched": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read when nothing waits at the output, or what waits goes."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=self._width, depth=max(self._depth, 2), init=[])
        write, read = memory.write_port(), memory.read_port()
        fetched = Signal()
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            self.reads.eq(self.asks & (self.taken | ~fetched)),
            read.en.eq(self.reads),
            read.addr.eq(self.r_addr),
            self.r_data.eq(read.data),
            self.fetched.eq(fetched),
        ]
        m.d.sync += fetched.eq(self.reads | Mux(self.taken, 0, fetched))
        return m
