"""What a head has selected, row by row: a bit for each KV block of each query block."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..choice import Choice
from ..component import Component
from ..formats import ceil_log2
from ..lane.count import count_to
from ..stream import Queue, RegisterSlice, connect_stream
from .pack import WordPacker
from .scan import check_word_width, word_layout

__all__ = ["SelectionMask", "selection_call", "taken_layout"]

_DEPTH = 4
"""Room for words that are on their way when the room is looked at: rate 1."""


def selection_call(blocks: int) -> data.StructLayout:
    """Return the layout of what is said of a head: ``n`` blocks, and whether it has pairs."""
    check_count("Blocks", blocks)
    return data.StructLayout({"n": range(blocks + 1), "pairs": 1})


def taken_layout() -> data.StructLayout:
    """Return what a :class:`~qkloom.rtl.index.selector.CoverageSelector` says of a candidate."""
    return data.StructLayout({"taken": 1, "last": 1})


class SelectionMask(Component):
    """Keep the columns and diagonals that a head has selected, and tell the mask of each row.

    ::

        i --> slice --> packer --+--> columns   (memory) ---------------------> |
                                 +--> diagonals (memory) --> reverse, shift --> + --> queue --> o
                                 +--> pairs of the row, as they come ---------> |

    Row r is query block r, bit c KV block c: set if column c, diagonal r - c or pair (r, c) is,
    and c is not above r (FlexPrefill; FAST-Prefill, index generation). Bit r - 32 w - j of the
    diagonals is bit j of word w: so two neighbouring words of them, reversed, are shifted by the
    row. Pairs come in the order of the rows, and so need no memory: their rows leave as they come.

    A candidate a cycle in. Without pairs the rows follow then, a word a cycle; the first one 6
    cycles after the last candidate. With pairs a row takes a cycle for each pair and for each word
    beyond them. The next head is taken when the last word is on its way.

    Parameters
    ----------
    blocks : int
        Most blocks of a head.
    word_width : int
        Bits of a word; a power of two, at least 4.

    Members
    -------
    call : In(stream)
        The head: :func:`selection_call`; at least one block.
    i : In(stream)
        :func:`taken_layout`: of the ``n`` columns; of the ``n`` diagonals, that of the queries' own
        block first; with ``pairs`` of all pairs, row by row, of row r columns 0 to r. ``last`` ends
        each of the three.
    o : Out(stream)
        ``ceil(n / word_width)`` words of each row, rows ascending, lowest blocks first:
        :func:`~qkloom.rtl.index.scan.word_layout`; ``last`` ends a row.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or the width no such power of two.
    """

    def __init__(self, *, blocks: int, word_width: int = 32) -> None:
        self._blocks, self._width = blocks, check_word_width(word_width)
        super().__init__(
            {
                "call": In(stream.Signature(selection_call(blocks))),
                "i": In(stream.Signature(taken_layout())),
                "o": Out(stream.Signature(word_layout(word_width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Fill both memories, then go through the rows."""
        m = Module()
        m.submodules.packer = packer = WordPacker(word_width=self._width)
        m.submodules.words = late = RegisterSlice(shape=packer.o.payload.shape())
        connect_stream(m, packer.o, late.i)
        words = late.o
        depth = -(-self._blocks // self._width)
        memories = {}
        for name in ("columns", "diagonals"):
            memories[name] = Memory(shape=self._width, depth=depth, init=[])
            m.submodules[name] = memories[name]
        writes = {name: memory.write_port() for name, memory in memories.items()}

        call = self.call.payload
        starts = Signal()
        n = Signal.like(call.n, reset_less=True)
        n_words = Signal(range(depth + 1), reset_less=True)
        has_pairs = Signal(reset_less=True)
        m.d.comb += starts.eq(self.call.valid & self.call.ready)
        with m.If(self.call.ready):
            m.d.sync += [
                n.eq(call.n),
                n_words.eq((call.n + self._width - 1) >> ceil_log2(self._width)),
                has_pairs.eq(call.pairs),
            ]
        self._feed(m, packer, starts, has_pairs)

        place = Signal(range(max(depth, 2)))
        plays = Signal()
        has_played = Signal()
        pair_ready = Signal()
        m.d.comb += words.ready.eq(pair_ready)
        for port in writes.values():
            m.d.comb += [port.addr.eq(place), port.data.eq(words.payload.mask)]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.call.ready.eq(1)
                with m.If(self.call.valid):
                    m.next = "columns"
            for name, after in (("columns", "diagonals"), ("diagonals", "play")):
                with m.State(name):
                    m.d.comb += [words.ready.eq(1), writes[name].en.eq(words.valid)]
                    with m.If(words.valid):
                        m.d.sync += place.eq(Mux(words.payload.last, 0, place + 1))
                        with m.If(words.payload.last):
                            m.d.sync += plays.eq(after == "play")
                            m.next = after
            with m.State("play"), m.If(has_played):
                m.d.sync += plays.eq(0)
                m.next = "idle"

        # Where the next word is.
        goes = Signal()
        row_goes = Signal()
        has_room = Signal()
        word = count_to(m, n_words, moves=goes, name="word")
        row = count_to(m, n, moves=row_goes, name="row")
        of_row = Signal(range(max(depth, 2)))  # the word in which the row's own block is
        seen = Signal(self._width)  # of this word: blocks up to the row's own
        in_first = Signal()  # word is the row's own block
        left = Signal.like(of_row)  # words before that one
        is_own = Signal()
        is_above = Signal()
        needs_pair = Signal()
        next_row = Signal(len(of_row) + 1)
        at = Signal(ceil_log2(self._width))  # the row's own block in its word
        m.d.comb += [
            at.eq(row.index),
            needs_pair.eq(has_pairs & ~is_above),
            goes.eq(plays & has_room & (~needs_pair | words.valid)),
            pair_ready.eq(plays & has_room & needs_pair),
            row_goes.eq(goes & word.is_last),
            has_played.eq(row_goes & row.is_last),
            next_row.eq(of_row + seen[-1]),
        ]
        with m.If(goes):
            m.d.sync += [left.eq(left - 1), is_own.eq(left == 1), is_above.eq(is_above | is_own)]
        with m.If(row_goes):
            m.d.sync += [
                of_row.eq(next_row),
                left.eq(next_row),
                seen.eq(Mux(seen[-1], 1, Cat(1, seen))),
                in_first.eq(in_first & ~seen[-1]),
                is_own.eq(in_first & ~seen[-1]),
                is_above.eq(0),
            ]
        with m.If(starts):
            m.d.sync += [
                *(x.eq(0) for x in (of_row, left, is_above)),
                *(x.eq(1) for x in (seen, in_first, is_own)),
            ]

        # A cycle later the memories' words are there.
        columns = memories["columns"].read_port()
        near, far = (memories["diagonals"].read_port() for _ in range(2))
        m.d.comb += [columns.addr.eq(word.index), near.addr.eq(left), far.addr.eq(left - 1)]
        comes = Signal()
        is_last = Signal(reset_less=True)
        shift = Signal.like(at, reset_less=True)
        shown = Signal(self._width, reset_less=True)
        pairs = Signal(self._width, reset_less=True)
        m.d.sync += [
            comes.eq(goes),
            is_last.eq(word.is_last),
            shift.eq(~at),
            shown.eq(Mux(is_own, seen, (~is_above).replicate(self._width))),
            pairs.eq(words.payload.mask & needs_pair.replicate(self._width)),
        ]
        diagonals = self._shifted(m, Cat(near.data[::-1], far.data[::-1]), shift)
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=_DEPTH)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        m.d.comb += [
            has_room.eq(queue.level <= _DEPTH - 2),
            queue.i.valid.eq(comes),
            queue.i.payload.mask.eq((columns.data | diagonals | pairs) & shown),
            queue.i.payload.last.eq(is_last),
        ]
        return m

    def _feed(self, m: Module, packer: WordPacker, starts: Value, has_pairs: Value) -> None:
        """Say which candidates end a row, and let in those of this head only."""
        m.submodules.slice = early = RegisterSlice(shape=self.i.payload.shape())
        connect_stream(m, wiring.flipped(self.i), early.i)
        item = early.o.payload
        is_whole = Signal()  # columns or diagonals
        is_second = Signal()
        is_pairs = Signal()
        moves = Signal()
        row = Signal(range(self._blocks + 1))
        left = Signal(range(self._blocks + 1))  # in the row
        row_ends = Signal()
        m.d.comb += [
            packer.i.valid.eq(early.o.valid & (is_whole | is_pairs)),
            early.o.ready.eq(packer.i.ready & (is_whole | is_pairs)),
            packer.i.payload.bit.eq(item.taken),
            packer.i.payload.last.eq(Mux(is_pairs, row_ends, item.last)),
            moves.eq(packer.i.valid & packer.i.ready),
        ]
        with m.If(moves & is_pairs):
            m.d.sync += [left.eq(left - 1), row_ends.eq(left == 1)]
            with m.If(row_ends):
                m.d.sync += [row.eq(row + 1), left.eq(row + 1), row_ends.eq(0)]
        with m.If(moves & item.last):
            m.d.sync += [
                is_second.eq(1),
                is_whole.eq(is_whole & ~is_second),
                is_pairs.eq(is_whole & is_second & has_pairs),
            ]
        with m.If(starts):
            m.d.sync += [is_whole.eq(1), row_ends.eq(1)]
            m.d.sync += [x.eq(0) for x in (is_second, is_pairs, row, left)]

    def _shifted(self, m: Module, words: Value, shift: Signal) -> Value:
        """Return the lower one of two words, shifted to the right by less than its width."""
        value, low = words, len(shift)
        while low:
            n_bits = min(low, 2)
            low -= n_bits
            width = self._width + (1 << low) - 1
            m.submodules[f"shift_{low}"] = choice = Choice(width=width, n=1 << n_bits)
            m.d.comb += [
                choice.select.eq(shift[low : low + n_bits]),
                choice.i.eq(Cat(value[k << low :][:width] for k in range(1 << n_bits))),
            ]
            value = choice.o
        return value
