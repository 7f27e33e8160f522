"""Queue: a first-word fall-through buffer between two streams."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .level import count_level
from .slice import RegisterSlice
from .wide import GROUP, WideSlice

__all__ = ["MOST", "Queue"]

MOST = 65_536
"""Largest depth; a larger one is a typing mistake."""


class Queue(Component):
    """First in, first out, with room for ``depth`` items.

    ``i.ready`` says that there is room, whatever happens at ``o``; ``o.valid`` says that there is
    an item, whatever happens at ``i``. Both come straight from registers, and no combinational path
    crosses the queue at any depth.

    ==============================  =======  =====  ==============================================
    Depth                           Latency  Rate   Made of
    ==============================  =======  =====  ==============================================
    1                               1        1/2    one payload register
    2                               1        1      two payload registers
    3 and more                      1        1      memory with asynchronous read (LUT RAM)
    3 and more, ``registered``      2        1      memory with synchronous read (block RAM)
    ==============================  =======  =====  ==============================================

    Latency is in cycles, from the transfer at ``i`` to ``o.valid`` of an empty queue; rate in
    transfers per cycle. A memory adds two pointers, the level counter and what says that it is
    neither 0 nor ``depth``; a depth that is not a power of two adds two comparisons. At depths 1
    and 2 an unused ``level`` costs nothing.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.
    depth : int
        Number of items that fit, 1 to :data:`MOST`.
    registered : bool
        Whether ``o.payload`` comes straight from a register. At depths 1 and 2 it always does.

    Members
    -------
    i : stream, in
        Items in.
    o : stream, out
        The same items in the same order.
    level : Out(range(depth + 1))
        Number of items inside.

    Raises
    ------
    TypeError, ValueError
        When ``depth`` is not an integer from 1 to :data:`MOST`.
    """

    def __init__(self, *, shape: Any, depth: int, registered: bool = False) -> None:
        self._shape, self._registered = shape, bool(registered)
        self._depth = check_count("Depth", depth, most=MOST)
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    @property
    def depth(self) -> int:
        """Number of items that fit."""
        return self._depth

    def elaborate(self, platform: Any) -> Module:
        """Count the items, and keep them in registers or in a memory."""
        m = Module()
        i, o, level = self.i, self.o, self.level
        write = Signal()
        read = Signal()
        m.d.comb += [
            write.eq(i.valid & i.ready),
            read.eq(o.valid & o.ready),
        ]
        inside = count_level(m, level, most=self._depth, comes=write, goes=read)

        if self._depth <= 2:
            inner: RegisterSlice | WideSlice
            if self._depth == 1:
                inner = RegisterSlice(shape=self._shape, mode="half")
            elif Shape.cast(self._shape).width <= GROUP:
                inner = RegisterSlice(shape=self._shape)
            else:
                inner = WideSlice(shape=self._shape)
            m.submodules.slice = inner
            wiring.connect(m, wiring.flipped(i), inner.i)
            wiring.connect(m, inner.o, wiring.flipped(o))
            return m

        m.submodules.storage = storage = Memory(shape=self._shape, depth=self._depth, init=[])
        w_port = storage.write_port()
        r_port = storage.read_port(domain="sync" if self._registered else "comb")
        tail = Signal(range(self._depth))
        head = Signal(range(self._depth))
        fetch = Signal()
        m.d.comb += [
            i.ready.eq(inside.has_room),
            w_port.addr.eq(tail),
            w_port.data.eq(i.payload),
            w_port.en.eq(write),
            r_port.addr.eq(head),
            o.payload.eq(r_port.data),
        ]
        with m.If(write):
            m.d.sync += tail.eq(self._next(tail))
        with m.If(fetch):
            m.d.sync += head.eq(self._next(head))

        if self._registered:
            # The register of the read port is the output. `level` counts its item too, so another
            # one waits in the memory when `level` exceeds `fetched`: never the one written now.
            fetched = Signal()
            m.d.comb += [
                fetch.eq((o.ready | ~fetched) & (level != fetched)),
                r_port.en.eq(fetch),
                o.valid.eq(fetched),
            ]
            with m.If(fetch):
                m.d.sync += fetched.eq(1)
            with m.Elif(o.ready):
                m.d.sync += fetched.eq(0)
        else:
            m.d.comb += [o.valid.eq(inside.has_some), fetch.eq(read)]
        return m

    def _next(self, pointer: Signal) -> Value:
        """Return the address after ``pointer``."""
        if self._depth == 1 << len(pointer):
            return pointer + 1
        return Mux(pointer == self._depth - 1, 0, pointer + 1)
