"""Reading which KV blocks a query block attends to."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from .call import SELECTION_WIDTH, block_entry, n_blocks, row_words
from .needs import mark_layout
from .walk import factored_entry

__all__ = ["Selector", "selected_entries", "word_numbers"]


def selected_entries(
    *,
    n_lanes: int,
    slots: int,
    heads: int,
    tokens: int,
    head_dim: int,
    size: int,
    block: int,
    gemm: bool,
    per_lane: int = 0,
) -> tuple[data.StructLayout, data.StructLayout]:
    """Return the layouts of a query block before and behind a selector, of whose parameters."""
    entry = block_entry(
        n_lanes=n_lanes,
        slots=slots,
        heads=heads,
        tokens=tokens,
        block=block,
        tiles=head_dim // size if gemm else 0,
        per_lane=per_lane,
    )
    return factored_entry(entry), factored_entry(entry, sparse=True)


def word_numbers(*, heads: int, tokens: int, block: int, data_width: int) -> range:
    """Return the shape of a number of a word of a selection: row by row."""
    words = row_words(tokens=tokens, block=block, data_width=data_width)
    return index(n_blocks(heads=heads, tokens=tokens, block=block) * words)


class Selector(Component):
    """Read the row of each query block, mark what it needs, and cut its keys behind the last one.

    Behind it a query block sees at least one KV block, and its keys end with the last of them. One
    that selects nothing, of what it may see, gets a key of block 0 that is hidden from all its
    rows: the lane has a job, and zeros come out. In a window that is all of block 0 that it may
    see: of a block, nobody sees fewer keys than those before.

    A query block takes a cycle for each KV block that it may see, two for each word of them, three
    more, and the time of what is read from memory. The next word is asked for while one is looked
    at.

    Parameters
    ----------
    n_lanes, slots : int
        Lanes, and query blocks that each holds at a time.
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size, block : int
        Rows and columns of an array; tokens of a block.
    data_width : int
        Bits of a beat of memory.
    gemm : bool
        Whether a call may be a product of matrices; not one that comes by here.
    per_lane : int
        Query blocks of a lane in a window; 0: they come in rounds. Marks are of places in windows,
        and say where one ends.

    Members
    -------
    i : In(stream)
        Query blocks: :func:`~qkloom.rtl.sequencer.walk.factored_entry`.
    o : Out(stream)
        The same, with ``hidden``; when all of its marks have gone.
    request : Out(stream)
        Numbers of words of the selection.
    word : In(stream)
        These words; bit b of a row is KV block b.
    marks : Out(stream)
        :func:`~qkloom.rtl.sequencer.needs.mark_layout`.
    jobs : Out
        With ``per_lane``: how many KV blocks the query block at ``o`` needs.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(
        self,
        *,
        n_lanes: int,
        slots: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        data_width: int,
        gemm: bool = False,
        per_lane: int = 0,
    ) -> None:
        self._block, self._tokens, self._per_lane = block, tokens, per_lane
        given = {name: self.parameters[name] for name in self.parameters if name != "data_width"}
        before, behind = selected_entries(**given)
        self._words = row_words(tokens=tokens, block=block, data_width=data_width)
        numbers = word_numbers(heads=heads, tokens=tokens, block=block, data_width=data_width)
        places = n_lanes * max(per_lane, 1)
        marks = mark_layout(n_lanes=places, tokens=tokens, block=block, ends=per_lane > 0)
        jobs = range(n_blocks(heads=1, tokens=tokens, block=block) + 1)
        super().__init__(
            {
                "i": In(stream.Signature(before)),
                "o": Out(stream.Signature(behind)),
                "request": Out(stream.Signature(numbers)),
                "word": In(stream.Signature(SELECTION_WIDTH)),
                "marks": Out(stream.Signature(marks)),
                **({"jobs": Out(jobs)} if per_lane else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Shift bit by bit; every sum and comparison has a cycle of its own."""
        m = Module()
        given, entry, mark = self.i.payload.entry, self.o.payload.entry, self.marks.payload
        block = self._block
        keys = Signal.like(given.keys)  # that are seen, up to the last block so far
        hidden = Signal()
        end = Signal(range(self._tokens + block + 1))  # of this block
        left = Signal.like(given.keys)  # from this block on
        at_last = Signal()  # block that is seen
        number = Signal.like(mark.block)
        bits = Signal(SELECTION_WIDTH, reset_less=True)
        bit = Signal(range(SELECTION_WIDTH))
        word = Signal(max(ceil_log2(self._words), 1))  # that is asked for
        asks = Signal()
        takes = Signal()  # a word: a register, for the way to who has it is long
        has_more = Signal()  # blocks than this word
        m.d.comb += [
            self.o.payload.mantissa.eq(self.i.payload.mantissa),
            self.o.payload.shift.eq(self.i.payload.shift),
            self.o.payload.hidden.eq(hidden),
            *(entry[name].eq(given[name]) for name in given.shape().members),
            entry.keys.eq(keys if self._per_lane else Mux(hidden, 1, keys)),
            self.request.valid.eq(asks),
            self.word.ready.eq(takes),
            self.request.payload.eq(Cat(word[: ceil_log2(self._words)], given.q_index)),
            mark.lane.eq(given.place if self._per_lane else given.lane),
            mark.block.eq(number),
            mark.needs.eq(bits[0]),
        ]
        if self._per_lane:
            m.d.comb += mark.last.eq(given.head_ends)
        with m.If(hidden):
            m.d.comb += entry.diagonal.eq(-min(block, self._tokens))
        with m.If(asks & self.request.ready):
            m.d.sync += [asks.eq(0), word.eq(word + 1)]

        with m.FSM():
            with m.State("rest"):
                m.d.sync += [
                    number.eq(0),
                    left.eq(given.keys),
                    end.eq(block),
                    hidden.eq(1),
                    word.eq(0),
                    asks.eq(self.i.valid),
                ]
                if self._per_lane:
                    m.d.sync += [keys.eq(Mux(given.keys < block, given.keys, block))]
                    m.d.sync += self.jobs.eq(0)
                with m.If(self.i.valid):
                    m.next = "compare"
            with m.State("compare"):
                m.d.sync += [
                    at_last.eq(left <= block),
                    has_more.eq(left > SELECTION_WIDTH * block),
                    takes.eq(1),
                ]
                m.next = "word"
            with m.State("word"):
                m.d.sync += [bits.eq(self.word.payload), bit.eq(0)]
                with m.If(self.word.valid):
                    m.d.sync += [takes.eq(0), asks.eq(has_more)]
                    m.next = "mark"
            with m.State("mark"):
                m.d.comb += self.marks.valid.eq(1)
                with m.If(self.marks.ready):
                    with m.If(bits[0]):
                        m.d.sync += [hidden.eq(0), keys.eq(Mux(at_last, given.keys, end))]
                        if self._per_lane:
                            m.d.sync += self.jobs.eq(self.jobs + 1)
                    m.d.sync += [
                        bits.eq(bits >> 1),
                        bit.eq(bit + 1),
                        number.eq(number + 1),
                        end.eq(end + block),
                        left.eq(left - block),
                        at_last.eq(left <= 2 * block),
                    ]
                    with m.If(at_last):
                        m.d.sync += number.eq(0)
                        m.next = "close"
                    with m.Elif(bit == SELECTION_WIDTH - 1):
                        m.next = "compare"
            with m.State("close"):
                m.d.comb += [
                    self.marks.valid.eq(1),
                    mark.needs.eq(hidden),
                    mark.ends.eq(given.round_ends),
                ]
                with m.If(self.marks.ready):
                    if self._per_lane:
                        with m.If(hidden):
                            m.d.sync += self.jobs.eq(1)
                    m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "rest"
        return m
