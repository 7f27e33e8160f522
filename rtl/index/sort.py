"""Lists in ascending order, without a sorter."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream import Queue, connect_stream
from .list import list_layout
from .scan import MaskScanner

__all__ = ["WORD", "BlockSorter"]

WORD = 32
"""Bits of a word of the mask."""

_DEPTH = 4
"""Room for words that are on their way when the room is looked at: rate 1."""


class BlockSorter(Component):
    """Put a list of different blocks into ascending order: mark them in a mask, then read the mask.

    ::

        i --> bit of a word --> mask --> words up to the last with a bit --> scanner --> o

    An entry a cycle in; then a word a cycle, up to the one with the highest entry, while the
    scanner takes them: an entry, or a word without one, a cycle. The next list is taken when the
    last word has been read. After a reset the mask is cleared, a word a cycle.

    Parameters
    ----------
    blocks : int
        Most blocks.

    Members
    -------
    i, o : stream
        Lists: :func:`~qkloom.rtl.index.list.list_layout`. What is twice in a list comes out once.

    Raises
    ------
    TypeError, ValueError
        When ``blocks`` is not a positive integer.
    """

    def __init__(self, *, blocks: int) -> None:
        self._blocks = check_count("Blocks", blocks)
        super().__init__(
            {
                "i": In(stream.Signature(list_layout(blocks))),
                "o": Out(stream.Signature(list_layout(blocks))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Clear once; then mark and read in turn."""
        m = Module()
        i = self.i.payload
        m.submodules.scanner = scanner = MaskScanner(blocks=self._blocks, word_width=WORD)
        connect_stream(m, scanner.o, wiring.flipped(self.o))
        m.submodules.words = words = Queue(shape=scanner.i.payload.shape(), depth=_DEPTH)
        connect_stream(m, words.o, scanner.i)

        n_words = -(-self._blocks // WORD)
        m.submodules.mask = mask = Memory(shape=WORD, depth=max(n_words, 2), init=[])
        w_port, r_port = mask.write_port(granularity=1), mask.read_port()
        at = Signal(range(max(n_words, 2)))
        highest = Signal.like(at)
        bits = ceil_log2(WORD)
        number = Signal.like(at)
        m.d.comb += number.eq(i.block[bits:])

        marks = Signal()
        reads = Signal()
        clears = Signal()  # the word before
        is_last = Signal()
        was_last = Signal()
        before = Signal.like(at, reset_less=True)
        has_room = Signal()
        m.d.comb += [
            has_room.eq(words.level <= _DEPTH - 2),
            r_port.addr.eq(at),
            is_last.eq(at == highest),
        ]
        with m.FSM():
            with m.State("clear"):
                m.d.comb += clears.eq(1)
                m.d.sync += at.eq(at + 1)
                with m.If(at == n_words - 1):
                    m.d.sync += at.eq(0)
                    m.next = "mark"
            with m.State("mark"):
                m.d.comb += [self.i.ready.eq(1), marks.eq(self.i.valid & ~i.end)]
                with m.If(marks & (number > highest)):
                    m.d.sync += highest.eq(number)
                with m.If(self.i.valid & i.end):
                    m.next = "read"
            with m.State("read"):
                m.d.comb += reads.eq(has_room)
                with m.If(has_room):
                    m.d.sync += at.eq(at + 1)
                    with m.If(is_last):
                        m.d.sync += [at.eq(0), highest.eq(0)]
                        m.next = "wait"
            with m.State("wait"):  # for the last word to be cleared
                m.next = "mark"

        arrives = Signal()
        m.d.sync += [arrives.eq(reads), was_last.eq(is_last), before.eq(at)]
        m.d.comb += [
            words.i.valid.eq(arrives),
            words.i.payload.mask.eq(r_port.data),
            words.i.payload.last.eq(was_last),
            w_port.addr.eq(Mux(clears, at, Mux(arrives, before, number))),
            w_port.data.eq((~(clears | arrives)).replicate(WORD)),
        ]
        for k in range(WORD):
            is_meant = marks & (i.block[:bits] == k)
            m.d.comb += w_port.en[k].eq(clears | arrives | is_meant)
        return m
