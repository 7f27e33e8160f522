"""The end of a query block: accumulators over row sums, as rows of outputs."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..buffer.banks import read_port
from ..check import check_count
from ..component import Component
from ..formats import Fixed, Integer, ceil_log2, saturate
from ..stream import CreditGate, Queue, connect_stream
from .job import block_layout, check_operand, check_row_width, check_shape, index
from .numerics import Numerics
from .pipeline import delayed, shift_right, shift_stages
from .place import row_address, row_layout
from .reciprocal import reciprocal_layout

__all__ = ["Normalizer"]

_ALIGNED_WIDTH = 27
_LEFT = 18
_DROPPED = 19
_PRODUCT_STAGES = 2


class Normalizer(Component):
    """Multiply each accumulator by its row's reciprocal; round to nearest, ties up; saturate.

    ::

        i --> addresses --> r (accumulators) --> chunk --> align --> multiply --> queue --> o
                 |                                           ^          ^
                 +--> reciprocals of rows -------------------+- e ------+- r
                            ^
        recip --------------+

    A row is read once its reciprocal is there, and only while the queue has a place for what
    follows. So nothing inside waits; the rate is one beat a cycle.

    Parameters
    ----------
    size : int
        Accumulators read at a time.
    block_rows, head_dim, slots : int
        Most rows of a query block, most columns, and query blocks in the lane.
    row_width : int
        Outputs per beat; divides ``size``.
    acc_width : int
        Bits of an accumulator, signed.
    stationary_width : int
        Bits of a value.

    Members
    -------
    i : In(stream)
        ``slot``, ``rows``, ``d_tiles`` of a query block whose accumulators are complete. Taken with
        the last read.
    recip : In(stream)
        Reciprocals of a slot's rows, in ascending order; always taken. Those of the slot's next
        query block come after ``done``.
    r : Out(read_port)
        Accumulators, by slot; the address is the row (low bits), then the tile; latency 1.
    o : Out(stream)
        Outputs ``row``, in the order row, tile, part of the tile; ``last`` of the query block.
    done : Out(stream)
        ``slot`` of a query block of which everything has been read.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or does not divide as it must.
    """

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        slots: int,
        row_width: int,
        acc_width: int,
        stationary_width: int = 8,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_count("Accumulator width", acc_width)
        check_operand("Stationary width", stationary_width)
        check_row_width(row_width, size=size)
        self._row_width, self._chunks = row_width, size // row_width
        self._acc_width, self._tiles = acc_width, head_dim // size
        self._sum_width = max(acc_width - stationary_width + 1, 2)
        self._rows = {"block_rows": block_rows, "slots": slots}
        factor = reciprocal_layout(row_layout(**self._rows))
        self._factor = data.StructLayout({name: factor[name].shape for name in ("zero", "e", "r")})
        self._out = Fixed(Numerics.out_integer, Numerics.out_fraction)
        block = block_layout(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        out = data.StructLayout({"row": data.ArrayLayout(self._out, row_width), "last": 1})
        depth = 1 << ceil_log2(block_rows) + ceil_log2(self._tiles)
        super().__init__(
            {
                "i": In(stream.Signature(block)),
                "recip": In(stream.Signature(factor, always_ready=True)),
                "r": Out(
                    read_port(
                        banks=slots, depth=depth, shape=data.ArrayLayout(Integer(acc_width), size)
                    )
                ),
                "o": Out(stream.Signature(out)),
                "done": Out(
                    stream.Signature(data.StructLayout({"slot": index(slots)}), always_ready=True)
                ),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a read to its beat at ``o``, when nothing waits there."""
        return self._in_pipeline + 1

    @property
    def _amount_width(self) -> int:
        """Bits of an exponent that can be 1: the bits of a row sum are counted by it."""
        return ceil_log2(self._sum_width)

    @property
    def _in_pipeline(self) -> int:
        """Cycles from a read to the queue: memory, chunk, alignment, product, saturation."""
        return 2 + shift_stages(self._amount_width) + _PRODUCT_STAGES + 1

    def elaborate(self, platform: object) -> Module:
        """Read while the queue has room; align; multiply; saturate."""
        m = Module()
        width = self._row_width

        # A credit per place in the queue, and places for as many reads as can be under way.
        places = self._in_pipeline + 2
        m.submodules.queue = queue = Queue(shape=self.o.payload.shape(), depth=places)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        beat, reads, reciprocal = self._read(m, places, self.o.valid & self.o.ready)

        # 2: the chunk, beside what its row needs
        accs = Signal(data.ArrayLayout(signed(self._acc_width), width), reset_less=True)
        with m.Switch(delayed(m, beat.chunk, 1, name="chunk")):
            for chunk in range(self._chunks):
                with m.Case(chunk):
                    for i in range(width):
                        m.d.sync += accs[i].eq(self.r.data[chunk * width + i])
        factor = Signal(self._factor, reset_less=True)
        m.d.sync += factor.eq(reciprocal)

        # floor(acc * 2**(18 - e)) has 27 bits, or the output saturates anyway.
        in_shift = shift_stages(self._amount_width)
        aligned = shift_right(
            m,
            [Cat(Const(0, _LEFT), accs[i]).as_signed() for i in range(width)],
            factor.e[: self._amount_width],
            keep=_ALIGNED_WIDTH,
            name="aligned",
        )
        r = delayed(m, factor.r, in_shift, name="r")
        is_zero = delayed(m, factor.zero, in_shift + _PRODUCT_STAGES, name="is_zero")
        item = queue.i.payload
        for i, value in enumerate(aligned):
            product, rounded = (
                Signal(signed(_ALIGNED_WIDTH + len(r)), name=f"{name}_{i}", reset_less=True)
                for name in ("product", "rounded")
            )
            m.d.sync += product.eq(value * r)
            m.d.sync += rounded.eq(product + (1 << _DROPPED - 1))
            quotient = rounded[_DROPPED:].as_signed()
            out = Signal(signed(self._out.width), name=f"out_{i}", reset_less=True)
            m.d.sync += out.eq(Mux(is_zero, 0, saturate(quotient, self._out)))
            m.d.comb += item.row[i].eq(out)
        valids = Signal(self._in_pipeline)
        m.d.sync += valids.eq(Cat(reads, valids))
        m.d.comb += [
            queue.i.valid.eq(valids[-1]),
            item.last.eq(delayed(m, beat.last, self._in_pipeline, name="last")),
        ]
        return m

    def _read(self, m: Module, places: int, returned: Value) -> tuple[Any, Value, Value]:
        """Count parts, tiles and rows; keep reciprocals until they are needed.

        Returns what is read in this cycle, whether anything is, and the reciprocal of its row,
        which comes in the next cycle.
        """
        block, recip = self.i.payload, self.recip.payload
        beat_layout = data.StructLayout({"chunk": index(self._chunks), "last": 1})
        m.submodules.gate = gate = CreditGate(shape=beat_layout, credits=places)
        beat, reads = gate.o.payload, gate.o.valid
        row = Signal(index(self._rows["block_rows"]))
        chunk = Signal.like(beat.chunk)
        tile = Signal(range(max(self._tiles, 2)))
        tile_ends = Signal()
        row_ends = Signal()
        block_ends = Signal()
        is_there = Signal()
        m.d.comb += [
            tile_ends.eq(chunk == self._chunks - 1),
            row_ends.eq(tile_ends & (tile + 1 == block.d_tiles)),
            block_ends.eq(row_ends & (row + 1 == block.rows)),
            gate.i.valid.eq(self.i.valid & is_there),
            gate.i.payload.chunk.eq(chunk),
            gate.i.payload.last.eq(block_ends),
            gate.o.ready.eq(1),
            gate.returned.eq(returned),
            self.i.ready.eq(reads & block_ends),
            self.r.en.eq(reads),
            self.r.bank.eq(block.slot),
            self.r.address.eq(
                Cat(row[: ceil_log2(self._rows["block_rows"])], tile[: ceil_log2(self._tiles)])
            ),
        ]
        with m.If(reads):
            m.d.sync += chunk.eq(Mux(tile_ends, 0, chunk + 1))
            with m.If(tile_ends):
                m.d.sync += tile.eq(Mux(row_ends, 0, tile + 1))
            with m.If(row_ends):
                m.d.sync += row.eq(Mux(block_ends, 0, row + 1))
        m.d.sync += self.done.valid.eq(reads & block_ends)
        m.d.sync += self.done.payload.slot.eq(block.slot)

        # Reciprocals wait in a memory; per slot, the number of those that have come.
        address = row_address(recip.tag, **self._rows)
        m.submodules.factors = memory = Memory(shape=self._factor, depth=1 << len(address), init=[])
        w_port, r_port = memory.write_port(), memory.read_port()
        of_row = Signal(row_layout(**self._rows))
        m.d.comb += [
            w_port.en.eq(self.recip.valid),
            w_port.addr.eq(address),
            w_port.data.zero.eq(recip.zero),
            w_port.data.e.eq(recip.e),
            w_port.data.r.eq(recip.r),
            of_row.slot.eq(block.slot),
            of_row.row.eq(row),
            r_port.addr.eq(row_address(of_row, **self._rows)),
        ]
        for slot in range(self._rows["slots"]):
            n_there = Signal(range(self._rows["block_rows"] + 1), name=f"n_there_{slot}")
            with m.If(block.slot == slot):
                m.d.comb += is_there.eq(row < n_there)
            with m.If(self.recip.valid & (recip.tag.slot == slot)):
                m.d.sync += n_there.eq(recip.tag.row + 1)
            with m.If(self.i.ready & (block.slot == slot)):
                m.d.sync += n_there.eq(0)
        return beat, reads, r_port.data
