"""The transposer: square tiles by rows in, by columns out."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..choice import Choice
from ..component import Component
from ..formats import I8, NumberFormat, ceil_log2
from ..stream import Queue
from ..stream.level import count_level

__all__ = ["Transposer"]

_QUEUE_DEPTH = 7
"""Room for two columns, and for those that come while their places come back: rate 1."""


class Transposer(Component):
    """Turn the rows of square tiles into columns; one tile fills while the one before leaves.

    ::

        i --> rotate by row --> banks of a pair --> rotate back --> half, pair --> queue --> o
                                    ^ address per bank

    A register per element would need a multiplexer for each. So elements lie in as many small
    memories as are read at a time: pairs, since rotating halves as many places costs a step less.
    Pair ``p`` of row ``r`` lies in bank ``(r + p) mod (size / 2)``; so a row touches every bank
    once, and so does pair ``p`` of half the rows. Two such reads hold two columns.

    Latency from a tile's last row to its first column 4 cycles, rate 1.

    Parameters
    ----------
    size : int
        Rows and columns of a tile; a power of two.
    element : NumberFormat
        What a tile holds.

    Members
    -------
    i : In(stream)
        Rows of tiles, ``size`` each. Ready while fewer than two tiles are inside.
    o : Out(stream)
        Columns of the same tiles.

    Raises
    ------
    TypeError, ValueError
        When ``size`` is not a power of two of at least 2.
    """

    def __init__(self, *, size: int, element: NumberFormat = I8) -> None:
        check_count("Tile size", size)
        if size < 2 or size & size - 1:
            raise ValueError(f"Tile size must be a power of two of at least 2, not {size!r}")
        self._size, self._width = size, element.width
        row = data.ArrayLayout(element, size)
        super().__init__({"i": In(stream.Signature(row)), "o": Out(stream.Signature(row))})

    def elaborate(self, platform: object) -> Module:
        """Build writer, banks, reader and output queue."""
        m = Module()
        size, pair = self._size, 2 * self._width
        n_banks, bits = size // 2, ceil_log2(size // 2)

        # Two tiles: filled by the writer, freed by the reader, both in order.
        n_filled = Signal(range(3))
        filled = Signal()
        freed = Signal()
        tiles = count_level(m, n_filled, most=2, comes=filled, goes=freed)
        w_row = Signal(range(2 * size))
        writes = Signal()
        m.d.comb += [
            self.i.ready.eq(tiles.has_room),
            writes.eq(self.i.valid & self.i.ready),
            filled.eq(writes & (w_row[:-1] == size - 1)),
        ]
        with m.If(writes):
            m.d.sync += w_row.eq(w_row + 1)

        # Two reads in a row, one of each half of the rows, once the queue has room for two columns.
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=_QUEUE_DEPTH)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        room = Signal(range(_QUEUE_DEPTH + 1), init=_QUEUE_DEPTH)
        beat = Signal(range(2 * size))
        half = beat[0]
        column_pair = Signal(bits)
        reads = Signal()
        m.d.comb += [
            column_pair.eq(beat[1:-1]),
            reads.eq(half | (tiles.has_some & (room >= 2))),
            freed.eq(reads & (beat[:-1] == size - 1)),
        ]
        came_back = Signal()  # a cycle late: the way here from who takes columns is long
        m.d.sync += came_back.eq(self.o.valid & self.o.ready)
        m.d.sync += room.eq(room - reads + came_back)
        next_beat = Signal.like(beat)
        odd_lowest = Signal(init=1)  # ~column_pair[0]: half of all banks are addressed by it
        m.d.comb += next_beat.eq(Mux(reads, beat + 1, beat))
        m.d.sync += [beat.eq(next_beat), odd_lowest.eq(~next_beat[1])]

        row = self.i.payload.as_value()
        turned = _rotate(m, row, w_row[:bits], pair, left=True, name="w")
        found = Signal(n_banks * pair)
        lowest = (column_pair[:1], odd_lowest)
        for bank in range(n_banks):
            m.submodules[f"bank_{bank}"] = memory = Memory(shape=pair, depth=2 * size, init=[])
            w, r = memory.write_port(), memory.read_port()
            row_in_half = Signal(bits, name=f"row_in_half_{bank}")
            m.d.comb += [
                w.en.eq(writes),
                w.addr.eq(w_row),
                w.data.eq(turned.word_select(bank, pair)),
                row_in_half.eq(bank - column_pair),
                r.addr.eq(Cat(lowest[bank % 2], row_in_half[1:], half, beat[-1])),
                found.word_select(bank, pair).eq(r.data),
            ]

        # The first half waits for the second one; the second column leaves a cycle later.
        pair_q = Signal(bits, reset_less=True)
        half_q = Signal(reset_less=True)
        arrives = Signal()
        second = Signal()
        m.d.sync += [pair_q.eq(column_pair), half_q.eq(half), arrives.eq(reads)]
        m.d.sync += second.eq(arrives & half_q)
        back = _rotate(m, found, pair_q, pair, left=False, name="r")
        upper = Signal(n_banks * pair, reset_less=True)
        columns = [Signal(self._width * size, name=f"column_{n}") for n in range(2)]
        waiting = Signal(self._width * size, reset_less=True)
        for n, column in enumerate(columns):
            halves = [
                [x.word_select(2 * k + n, self._width) for k in range(n_banks)]
                for x in (upper, back)
            ]
            m.d.comb += column.eq(Cat(*halves))
        m.d.sync += upper.eq(back)
        m.d.sync += waiting.eq(columns[1])
        m.d.comb += [
            queue.i.valid.eq((arrives & half_q) | second),
            queue.i.payload.eq(waiting),
        ]
        with m.If(half_q):
            m.d.comb += queue.i.payload.eq(columns[0])
        return m


def _rotate(m: Module, value: Value, amount: Value, width: int, *, left: bool, name: str) -> Value:
    """Rotate elements of ``width`` bits by ``amount`` places, two bits of it at a time."""
    for low in range(0, len(amount), 2):
        digit = amount[low : low + 2]
        places = [number * width << low for number in range(1 << len(digit))]
        turned = [value.rotate_left(n) if left else value.rotate_right(n) for n in places]
        m.submodules[f"{name}_{low}"] = choice = Choice(width=len(value), n=len(places))
        m.d.comb += [choice.i.eq(Cat(turned)), choice.select.eq(digit)]
        value = choice.o
    return value
