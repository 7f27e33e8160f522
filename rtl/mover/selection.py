"""A selection on its way to memory, and what is known of each head."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Write, WriteManager
from ..axi.command import HALF
from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..stream import Queue

__all__ = ["RECORD_WORDS", "SelectionMover", "record_bytes"]

WORD = 32
RECORD_WORDS = 8
"""Words that are written of a head."""
_WAITING = 8
"""Rows and records that are not in memory yet."""


def record_bytes(data_width: int) -> int:
    """Return how far records of heads are apart in memory: whole beats."""
    return max(RECORD_WORDS * WORD, data_width) // 8


class SelectionMover(Component):
    """Write the rows of a selection one behind the other, and behind a head's last row its record.

    ::

        masks, record --> beat --> manager --> bus

    A word a cycle, and three more for each row, beat and record; what a row or a record leaves of
    its last beat is written as 0.

    Parameters
    ----------
    row_bytes : int
        How far rows are apart: a power of two of whole beats.
    blocks : int
        Most rows of a head.
    data_width, address_width : int
        Bits of a beat and of an address.

    Members
    -------
    begins : In(1)
        A call begins: ``rows`` and records are written from ``selection`` and ``verdicts`` on.
    selection, verdicts : In
        Addresses, multiples of a beat's bytes.
    rows : In
        Of each head; stays from its first word to its record.
    masks : In(stream)
        Words of rows, lowest bits first: ``mask``, and ``last`` of a row.
    record : In(stream)
        Of each head, ``RECORD_WORDS`` words; taken behind its last row.
    bus : Out(AXI4Write)
        To memory.
    written : Out(1)
        A head's rows and record are in memory.
    halt : In(1)
        Begin no write any more.
    idle : Out(1)
        No write is on its way.
    failed : Out(Response)
        The first response that was no OKAY; 0 if there was none.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, a beat no power of two of words, or rows are no
        such beats.
    """

    def __init__(
        self, *, row_bytes: int, blocks: int, data_width: int, address_width: int = 64
    ) -> None:
        check_count("Row bytes", row_bytes)
        check_count("Blocks", blocks)
        check_count("Data width", data_width)
        if data_width < WORD or data_width & data_width - 1:
            raise ValueError(
                f"Data width must be a power of two of at least {WORD}, not {data_width}"
            )
        if row_bytes * 8 < data_width or row_bytes & row_bytes - 1:
            raise ValueError(
                f"Row bytes must be a power of two of at least a beat, {data_width // 8}, "
                f"not {row_bytes}"
            )
        self._row_bytes, self._record_bytes = row_bytes, record_bytes(data_width)
        self._per_beat = data_width // WORD
        longest = max(row_bytes, self._record_bytes) * 8 // data_width
        burst = min(1 << ceil_log2(longest), 16)
        self._bus = {"data_width": data_width, "address_width": address_width}
        self._manager = dict(longest=longest, burst=burst, ahead=2 * longest + 2, **self._bus)
        record = data.StructLayout({"words": data.ArrayLayout(WORD, RECORD_WORDS)})
        super().__init__(
            {
                "begins": In(1),
                "selection": In(address_width),
                "verdicts": In(address_width),
                "rows": In(range(blocks + 1)),
                "masks": In(stream.Signature(data.StructLayout({"mask": WORD, "last": 1}))),
                "record": In(stream.Signature(record)),
                "bus": Out(AXI4Write(**self._bus)),
                "written": Out(1),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Fill a beat, hand it over; behind the last one of a row say where it goes."""
        m = Module()
        n = self._per_beat
        m.submodules.manager = manager = WriteManager(**self._manager)
        m.submodules.ends = ends = Queue(shape=1, depth=_WAITING)
        wiring.connect(m, manager.bus, wiring.flipped(self.bus))
        beat = Signal(data.ArrayLayout(WORD, n), reset_less=True)
        place = Signal(n, init=1)  # of the word that comes: one bit set
        fills = Signal(init=1)
        is_last = Signal()  # beat of the row, or of the record
        n_beats = Signal.like(manager.i.payload.beats)
        row = Signal.like(self.rows)
        is_record = Signal()
        word = Signal(range(RECORD_WORDS))  # of the record
        low = [Signal(HALF + 1, name=f"low_{k}", reset_less=True) for k in range(2)]
        high = [
            Signal(len(self.selection) - HALF, name=f"high_{k}", reset_less=True) for k in range(2)
        ]
        source = self.masks.payload
        words = self.record.payload.words
        comes = Signal()
        coming = Signal(WORD)
        ends_part = Signal()
        m.d.comb += [
            coming.eq(Mux(is_record, words.as_value().word_select(word, WORD), source.mask)),
            ends_part.eq(Mux(is_record, word == RECORD_WORDS - 1, source.last)),
            comes.eq(fills & Mux(is_record, self.record.valid, self.masks.valid)),
            self.masks.ready.eq(fills & ~is_record),
            manager.data.payload.data.eq(beat),
            manager.data.payload.strb.eq(-1),
            manager.i.payload.addr.eq(
                Cat(Mux(is_record, low[1][:HALF], low[0][:HALF]), Mux(is_record, *high[::-1]))
            ),
            manager.i.payload.beats.eq(n_beats),
            ends.i.payload.eq(is_record),
            ends.o.ready.eq(manager.done),
            manager.halt.eq(self.halt),
            self.idle.eq(manager.idle),
            self.failed.eq(manager.failed),
        ]
        m.d.sync += self.written.eq(manager.done & ends.o.payload)
        for k in range(n):  # the first word of a beat clears the others
            with m.If(fills & (place[k] | place[0])):
                m.d.sync += beat[k].eq(coming if k == 0 else Mux(place[0], 0, coming))
        with m.FSM():
            with m.State("fill"), m.If(comes):
                m.d.sync += [
                    place.eq(place.rotate_left(1)),
                    is_last.eq(ends_part),
                    word.eq(word + 1),
                ]
                with m.If(place[-1] | ends_part):
                    m.d.sync += [fills.eq(0), place.eq(1), n_beats.eq(n_beats + 1)]
                    m.next = "beat"
            with m.State("beat"):
                m.d.comb += manager.data.valid.eq(1)
                with m.If(manager.data.ready):
                    m.d.sync += fills.eq(~is_last)
                    m.next = "fill"
                    with m.If(is_last):
                        m.next = "command"
            with m.State("command"):
                m.d.comb += manager.i.valid.eq(ends.i.ready)
                m.d.comb += ends.i.valid.eq(manager.i.ready)
                with m.If(manager.i.ready & ends.i.ready):
                    m.d.comb += self.record.ready.eq(is_record)
                    m.next = "next"
                    for k, step in ((0, self._row_bytes), (1, self._record_bytes)):
                        with m.If(is_record == k):
                            m.d.sync += low[k].eq(low[k][:HALF] + Const(step, HALF))
            with m.State("next"):
                for k in range(2):
                    with m.If(is_record == k):
                        m.d.sync += high[k].eq(high[k] + low[k][HALF])
                m.d.sync += [n_beats.eq(0), fills.eq(1), word.eq(0), row.eq(row + 1)]
                m.d.sync += is_record.eq(0)
                with m.If(is_record):
                    m.d.sync += row.eq(0)
                with m.Elif(row == self.rows - 1):
                    m.d.sync += is_record.eq(1)
                m.next = "fill"
        with m.If(self.begins):
            for k, base in enumerate((self.selection, self.verdicts)):
                m.d.sync += [low[k].eq(base[:HALF]), high[k].eq(base[HALF:])]
        return m
