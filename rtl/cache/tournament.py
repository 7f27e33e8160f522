"""The slot whose key is largest, kept up to date key by key."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index

__all__ = ["Tournament", "slot_key"]


def slot_key(*, slots: int, key_width: int) -> data.StructLayout:
    """Return the layout of a slot and its key.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """
    check_count("Slots", slots)
    check_count("Key width", key_width)
    return data.StructLayout({"slot": index(slots), "key": key_width})


class Tournament(Component):
    """Find the largest of all slots' keys; of equal ones the lowest slot's.

    A tree in one memory: a slot's key is a leaf, and above two of them stands the larger one. A new
    key meets what stands beside it, level by level, up to the top. So a change takes two cycles for
    each level and two more, however many slots there are, and 2 x slots words are kept.

    After a reset all keys are the largest there is, a word a cycle; ``i`` waits for that.

    Parameters
    ----------
    slots : int
        How many there are.
    key_width : int
        Bits of a key, unsigned.

    Members
    -------
    i : In(stream)
        A slot and its new key: :func:`slot_key`.
    best : Out
        The slot with the largest key, and this key, of all that has been taken; while
        ``settled``.
    settled : Out(1)
        Nothing is on its way up. ``i`` is taken then.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(self, *, slots: int, key_width: int) -> None:
        shape = slot_key(**self.parameters)
        self._slots, self._levels = slots, ceil_log2(slots)
        super().__init__({"i": In(stream.Signature(shape)), "best": Out(shape), "settled": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Nodes are numbered as in a heap: 1 is the top, 2n and 2n + 1 stand below n."""
        m = Module()
        levels, shape = self._levels, self.best.shape()
        m.submodules.nodes = nodes = Memory(shape=shape, depth=2 << levels, init=[])
        write, read = nodes.write_port(), nodes.read_port()
        node = Signal(levels + 1)
        climber = Signal(shape, reset_less=True)
        m.d.comb += [
            write.addr.eq(node),
            write.data.eq(climber),
            read.addr.eq(node ^ 1),
        ]
        at_top = Signal()
        ends_level = Signal()  # the next node is one level further down
        m.d.comb += [
            at_top.eq(node == 1),
            ends_level.eq(Cat(node == (1 << k) - 1 for k in range(1, levels + 2)).any()),
        ]

        # First all nodes get the lowest slot below them, with the largest key or, where there is
        # no slot, the smallest.
        below = Signal(range(levels + 1), init=levels)  # levels below the node
        first = Signal(levels + 1)
        m.d.comb += first.eq((node ^ (1 << levels >> below)) << below)
        fresh = Signal(shape)
        m.d.comb += [fresh.slot.eq(first), fresh.key.eq(Mux(first < self._slots, -1, 0))]

        beside = Signal(shape)
        loses = Signal()  # what climbs
        m.d.comb += [
            beside.eq(read.data),
            # The node to the left has the lower slots.
            loses.eq(Mux(node[0], beside.key >= climber.key, beside.key > climber.key)),
        ]
        with m.FSM(init="clear"):
            with m.State("clear"):
                m.d.comb += [write.addr.eq(node), write.data.eq(fresh), write.en.eq(1)]
                m.d.sync += [node.eq(node + 1), self.best.eq(fresh)]
                with m.If(node == 0):
                    m.d.comb += write.en.eq(0)
                    m.d.sync += below.eq(levels)
                with m.Elif(ends_level):
                    m.d.sync += below.eq(below - 1)
                    with m.If(below == 0):
                        m.d.sync += [self.best.slot.eq(0), self.best.key.eq(-1)]
                        m.next = "rest"
            with m.State("rest"):
                m.d.comb += [self.settled.eq(1), self.i.ready.eq(1)]
                m.d.sync += [
                    climber.eq(self.i.payload),
                    node.eq(Cat(self.i.payload.slot[:levels], 1)),
                ]
                with m.If(self.i.valid):
                    m.next = "write"
            with m.State("write"):
                m.d.comb += write.en.eq(1)
                m.next = "meet"
                with m.If(at_top):
                    m.d.sync += self.best.eq(climber)
                    m.next = "rest"
            with m.State("meet"):
                m.d.sync += node.eq(node >> 1)
                with m.If(loses):
                    m.d.sync += climber.eq(beside)
                m.next = "write"
        return m
