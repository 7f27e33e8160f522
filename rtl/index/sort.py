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

_BITS = ceil_log2(WORD)

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
        w_port, r_port = mask.write_port(), mask.read_port()
        at = Signal(range(max(n_words, 2)))
        highest = Signal.like(at)
        highest_is_at = Signal()
        number = Signal.like(at)
        m.d.comb += number.eq(i.block[_BITS:])

        # Every cycle a word is read, and written in the next: with a bit more, or cleared.
        address = Signal.like(at)
        marks = Signal()
        reads = Signal()
        clears = Signal()
        has_room = Signal()
        m.d.comb += [has_room.eq(words.level <= _DEPTH - 2), address.eq(at)]
        with m.FSM():
            with m.State("clear"):
                m.d.comb += clears.eq(1)
                m.d.sync += at.eq(at + 1)
                with m.If(at == n_words - 1):
                    m.d.sync += at.eq(0)
                    m.next = "mark"
            with m.State("mark"):
                m.d.comb += [
                    self.i.ready.eq(1),
                    marks.eq(self.i.valid & ~i.end),
                    address.eq(number),
                ]
                with m.If(marks & (number > highest)):
                    m.d.sync += highest.eq(number)
                with m.If(self.i.valid & i.end):
                    m.d.sync += highest_is_at.eq(highest == 0)
                    m.next = "read"
            with m.State("read"):
                m.d.comb += reads.eq(has_room)
                with m.If(has_room):
                    m.d.sync += [at.eq(at + 1), highest_is_at.eq(at + 1 == highest)]
                    with m.If(highest_is_at):
                        m.d.sync += [at.eq(0), highest.eq(0)]
                        m.next = "wait"
            with m.State("wait"):  # for the last word to be cleared
                m.next = "mark"

        before = Signal.like(at, reset_less=True)
        bit = Signal(WORD, reset_less=True)
        is_read = Signal()
        is_marked = Signal()
        is_cleared = Signal()
        is_same = Signal(reset_less=True)  # word as in the cycle before: memory is a cycle behind
        was_last = Signal(reset_less=True)
        m.d.sync += [
            before.eq(address),
            bit.eq(1 << i.block[:_BITS]),
            is_read.eq(reads),
            is_marked.eq(marks),
            is_cleared.eq(clears | reads),
            is_same.eq(is_marked & (number == before)),
            was_last.eq(highest_is_at),
        ]
        marked = Signal(WORD, reset_less=True)
        word = Signal(WORD)
        m.d.comb += word.eq(Mux(is_same, marked, r_port.data) | bit)
        m.d.sync += marked.eq(word)
        m.d.comb += [
            r_port.addr.eq(address),
            w_port.addr.eq(before),
            w_port.en.eq(is_marked | is_cleared),
            words.i.valid.eq(is_read),
            words.i.payload.mask.eq(r_port.data),
            words.i.payload.last.eq(was_last),
        ]
        with m.If(~is_cleared):
            m.d.comb += w_port.data.eq(word)
        return m
