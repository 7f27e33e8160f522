"""A list of wanted blocks, of which those that make no sense are told apart."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..index.list import list_layout
from ..stream import Queue, connect_stream

__all__ = ["FAULTS", "WantedCheck", "wanted_call", "wanted_layout"]

FAULTS = ("unknown", "unordered", "excess")
"""What may be wrong with a list."""


def wanted_call(blocks: int) -> data.StructLayout:
    """Return what a list is about: the ``tail``, or that all of it is ``dropped``."""
    return data.StructLayout({"tail": list_layout(blocks)["block"].shape, "dropped": 1})


def wanted_layout(blocks: int) -> data.StructLayout:
    """Return an item of a checked list: a block, which may be the ``tail``, or the ``end``.

    The end says what was left out: blocks above the tail (``unknown``), blocks that are not above
    all before them (``unordered``), blocks for which there is no slot (``excess``). Of entries
    these are 0.
    """
    members = list_layout(blocks).members
    return data.StructLayout({**members, "tail": 1, **dict.fromkeys(FAULTS, 1)})


class WantedCheck(Component):
    """Pass on those blocks of a list that can be had, and say at its end what could not.

    A block is had if it is above all before it, if it is not above the tail, which is the latest
    block that there is, and if there were less than ``most`` before it, or it is the tail itself:
    that one has a place anyway. So what comes out ascends, without duplicates, whatever comes in.

    An item a cycle, 2 cycles of latency; a cycle between two lists.

    Parameters
    ----------
    blocks : int
        Most blocks.
    most : int
        Most blocks that have a place, besides the tail.

    Members
    -------
    call : In(stream)
        What the next list is about: :func:`wanted_call`.
    i : In(stream)
        The list: :func:`~qkloom.rtl.index.list.list_layout`.
    o : Out(stream)
        The same, checked: :func:`wanted_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, most: int) -> None:
        check_count("Blocks", blocks)
        self._most = check_count("Number of slots", most)
        super().__init__(
            {
                "call": In(stream.Signature(wanted_call(blocks))),
                "i": In(stream.Signature(list_layout(blocks))),
                "o": Out(stream.Signature(wanted_layout(blocks))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Compare each block with the highest one before it and with the tail."""
        m = Module()
        m.submodules.early = early = Queue(shape=self.i.payload.shape(), depth=2)
        m.submodules.late = late = Queue(shape=self.o.payload.shape(), depth=2)
        connect_stream(m, wiring.flipped(self.i), early.i)
        connect_stream(m, late.o, wiring.flipped(self.o))
        item, o = early.o.payload, late.i.payload

        call = Signal(self.call.payload.shape(), reset_less=True)
        is_busy = Signal()
        some = Signal(reset_less=True)  # there was a block
        highest = Signal(item.block.shape(), reset_less=True)
        n = Signal(range(self._most + 1), reset_less=True)
        is_full = Signal(reset_less=True)
        found = {name: Signal(name=f"found_{name}", reset_less=True) for name in FAULTS}
        m.d.comb += self.call.ready.eq(~is_busy)
        with m.If(self.call.valid & ~is_busy):
            m.d.sync += [is_busy.eq(1), call.eq(self.call.payload), some.eq(0), n.eq(0)]
            m.d.sync += [is_full.eq(0), *(flag.eq(0) for flag in found.values())]

        is_above = Signal()
        is_known = Signal()
        is_tail = Signal()
        is_had = Signal()
        wrong = {name: Signal(name=f"is_{name}") for name in FAULTS}
        moves = Signal()
        m.d.comb += [
            is_above.eq(~some | (item.block > highest)),
            is_known.eq(item.block <= call.tail),
            is_tail.eq(item.block == call.tail),
            wrong["unordered"].eq(~is_above),
            wrong["unknown"].eq(~is_known),
            wrong["excess"].eq(is_above & is_known & ~is_tail & is_full),
            is_had.eq(is_above & is_known & (is_tail | ~is_full) & ~call.dropped),
            late.i.valid.eq(early.o.valid & is_busy & (item.end | is_had)),
            early.o.ready.eq(is_busy & late.i.ready),
            moves.eq(early.o.valid & early.o.ready),
            o.end.eq(item.end),
        ]
        with m.If(item.end):
            m.d.comb += [o[name].eq(found[name]) for name in FAULTS]
            with m.If(moves):
                m.d.sync += is_busy.eq(0)
        with m.Else():
            m.d.comb += [o.block.eq(item.block), o.tail.eq(is_tail)]
            with m.If(moves & ~call.dropped):
                m.d.sync += [found[name].eq(found[name] | wrong[name]) for name in FAULTS]
            with m.If(moves & is_above):
                m.d.sync += [some.eq(1), highest.eq(item.block)]
            with m.If(moves & is_had & ~is_tail):
                m.d.sync += [n.eq(n + 1), is_full.eq(n == self._most - 1)]
        return m
