"""A memory of rows, as deep as a cache is."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..memory import memory_attributes

__all__ = ["RowMemory", "row_latency"]


class RowMemory(Component):
    """One write and one read a cycle; beyond the depth of a bank, registers on the way.

    ::

        w --> register --> bank 0 --> register --+
        r --> register --> bank 1 --> register --+--> or --> r_data
                           ...                   |

    A choice out of a hundred memories is too much for a cycle, and so is to reach all of them. What
    is written in a cycle is read from the next one on, with registers or without.

    Parameters
    ----------
    width, depth : int
        Bits of a row, and rows.
    bank : int
        Rows of a bank, a power of two.
    memory : str
        What it is made of: :data:`~qkloom.rtl.memory.MEMORIES`.

    Members
    -------
    w_en, w_addr, w_data : In
        A row to write.
    r_addr : In
        A row to read.
    r_data : Out(width)
        That row, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        When a number is not a positive integer, a bank no power of two, or the memory unknown.
    """

    def __init__(
        self, *, width: int, depth: int, bank: int = 1 << 15, memory: str = "auto"
    ) -> None:
        check_count("Width", width)
        check_count("Depth", depth)
        if check_count("Bank", bank) & bank - 1:
            raise ValueError(f"Bank must be a power of two, not {bank}")
        self._depth, self._bank = depth, bank
        self._attributes = memory_attributes(memory)
        address = range(max(depth, 2))
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(address),
                "w_data": In(width),
                "r_addr": In(address),
                "r_data": Out(width),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from an address to its row."""
        return row_latency(depth=self._depth, bank=self._bank)

    def elaborate(self, platform: object) -> Module:
        """Build banks, and registers around them if there are several."""
        m = Module()
        if self._depth <= self._bank:
            row = self._add_bank(m, 0, self.w_en, self.w_addr, self.w_data, self.r_addr)
            m.d.comb += self.r_data.eq(row)
            return m
        bits = ceil_log2(self._bank)
        w_addr, r_addr = (Signal(bits, name=name, reset_less=True) for name in ("w_low", "r_low"))
        w_data = Signal.like(self.w_data, name="w_late", reset_less=True)
        m.d.sync += [
            w_addr.eq(self.w_addr[:bits]),
            w_data.eq(self.w_data),
            r_addr.eq(self.r_addr[:bits]),
        ]
        rows: list[Value] = []
        for number in range(-(-self._depth // self._bank)):
            writes = Signal(name=f"writes_{number}")
            reads = Signal(2, name=f"reads_{number}", reset_less=True)
            row = Signal.like(self.r_data, name=f"row_{number}", reset_less=True)
            m.d.sync += [
                writes.eq(self.w_en & (self.w_addr[bits:] == number)),
                reads.eq(Cat(self.r_addr[bits:] == number, reads)),
            ]
            found = self._add_bank(m, number, writes, w_addr, w_data, r_addr)
            m.d.sync += row.eq(Mux(reads[1], found, 0))
            rows.append(row)
        m.d.comb += self.r_data.eq(reduce(or_, rows))
        return m

    def _add_bank(
        self, m: Module, number: int, en: Value, w_addr: Value, w_data: Value, r_addr: Value
    ) -> Value:
        """Return what a bank answers a cycle later."""
        rows = min(self._bank, self._depth - number * self._bank)
        m.submodules[f"bank_{number}"] = memory = Memory(
            shape=len(self.w_data), depth=max(rows, 2), init=[], attrs=self._attributes
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(en),
            write.addr.eq(w_addr),
            write.data.eq(w_data),
            read.addr.eq(r_addr),
            read.en.eq(1),
        ]
        return read.data


def row_latency(*, depth: int, bank: int) -> int:
    """Return the cycles from an address of a :class:`RowMemory` to its row."""
    return 1 if depth <= bank else 3
