"""The end of a query block: accumulators over row sums, as rows of outputs."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Fixed, Integer, ceil_log2, saturate
from ..product import Product
from ..stream import CreditGate, Queue, connect_stream
from ..stream.level import count_level
from .count import count_to
from .job import block_layout, check_chunk, check_operand, check_shape, index
from .numerics import Numerics
from .output import place_layout
from .pipeline import delayed, shift_right, shift_stages
from .place import row_address, row_layout
from .reciprocal import reciprocal_layout

__all__ = ["Normalizer"]

_ALIGNED_WIDTH = 27
_LEFT = 18
_DROPPED = 19


class Normalizer(Component):
    """Multiply each accumulator by its row's reciprocal; round to nearest, ties up; saturate.

    ::

        i --> places --> read     data --> word --> part --> align --> multiply --> queue --> o
                |                            |                 ^          ^
                +--> reciprocals of rows ----+------ e --------+--- r ----+
                            ^
        recip --------------+

    A word of ``size`` accumulators is read once its row's reciprocal is there, and only while the
    queue has a place for every part of it. So nothing behind waits. The rate is one beat a cycle,
    as long as words come the cycle after they are asked for; at the latest, the next one is asked
    for when the one before is down to its last two parts.

    Parameters
    ----------
    size : int
        Accumulators read at a time.
    block_rows, head_dim, slots : int
        Most rows of a query block, most columns, and query blocks in the lane.
    out_width : int
        Outputs per beat; divides ``size``.
    acc_width : int
        Bits of an accumulator, signed.
    stationary_width : int
        Bits of a value.

    Members
    -------
    i : In(stream)
        ``slot``, ``rows``, ``d_tiles`` of a query block whose accumulators are complete. Taken the
        cycle after the last read.
    recip : In(stream)
        Reciprocals of a slot's rows, in ascending order; always taken. Those of the slot's next
        query block come after ``done``.
    read : Out(stream)
        Where to read: see :func:`~qkloom.rtl.lane.output.place_layout`.
    data : In(stream)
        Accumulators: the answers to ``read``, a cycle later or more; always taken.
    o : Out(stream)
        Outputs ``row``, in the order row, tile, part of the tile; ``last`` of the query block.
    done : Out(stream)
        ``slot`` of a query block of which everything has been asked for.

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
        out_width: int,
        acc_width: int,
        stationary_width: int = 8,
    ) -> None:
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        check_count("Accumulator width", acc_width)
        check_operand("Stationary width", stationary_width)
        check_chunk("Out width", out_width, size=size)
        self._out_width, self._parts = out_width, size // out_width
        self._acc_width, self._tiles = acc_width, head_dim // size
        self._sum_width = max(acc_width - stationary_width + 1, 2)
        self._rows = {"block_rows": block_rows, "slots": slots}
        factor = reciprocal_layout(row_layout(**self._rows))
        self._factor = data.StructLayout({name: factor[name].shape for name in ("zero", "e", "r")})
        self._out = Fixed(Numerics.out_integer, Numerics.out_fraction)
        shape = {"size": size, "block_rows": block_rows, "head_dim": head_dim, "slots": slots}
        out = data.StructLayout({"row": data.ArrayLayout(self._out, out_width), "last": 1})
        self._word = data.ArrayLayout(Integer(acc_width), size)
        super().__init__(
            {
                "i": In(stream.Signature(block_layout(**shape))),
                "recip": In(stream.Signature(factor, always_ready=True)),
                "read": Out(stream.Signature(place_layout(**shape))),
                "data": In(stream.Signature(self._word, always_ready=True)),
                "o": Out(stream.Signature(out)),
                "done": Out(
                    stream.Signature(data.StructLayout({"slot": index(slots)}), always_ready=True)
                ),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a word at ``data`` to its first beat at ``o``, when nothing waits there."""
        return self._in_pipeline + 3

    @property
    def _amount_width(self) -> int:
        """Bits of an exponent that can be 1: the bits of a row sum are counted by it."""
        return ceil_log2(self._sum_width)

    @property
    def _in_pipeline(self) -> int:
        """Cycles from a part of a word to the queue: choice, alignment, product, saturation."""
        return 1 + shift_stages(self._amount_width) + Product.latency + 1

    def elaborate(self, platform: object) -> Module:
        """Ask for words while the queue has room; cut them; align; multiply; saturate."""
        m = Module()
        width, parts = self._out_width, self._parts

        # A credit per word, and words for as many as can be under way: from a word's request to
        # the credit of its last part coming back.
        words = -(-(self._in_pipeline + 5 + parts) // parts)
        m.submodules.queue = queue = Queue(
            shape=self.o.payload.shape(), depth=words * parts, registered=True
        )
        connect_stream(m, queue.o, wiring.flipped(self.o))
        left = Signal(range(parts + 1))
        few_left = Signal(init=1)
        is_last, reciprocal = self._ask(m, words, few_left)

        # A word, beside what its row needs
        word = Signal(self._word, reset_less=True)
        factor = Signal(self._factor, reset_less=True)
        word_is_last = Signal(reset_less=True)
        part = Signal(index(parts))
        with m.If(self.data.valid):
            m.d.sync += [
                word.eq(self.data.payload),
                factor.eq(reciprocal),
                word_is_last.eq(is_last),
                left.eq(parts),
                few_left.eq(parts <= 2),
                part.eq(0),
            ]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), few_left.eq(left <= 3), part.eq(part + 1)]

        # 1: a part of it
        accs = Signal(data.ArrayLayout(signed(self._acc_width), width), reset_less=True)
        with m.Switch(part):
            for number in range(parts):
                with m.Case(number):
                    for i in range(width):
                        m.d.sync += accs[i].eq(word[number * width + i])
        of_part = Signal(self._factor, reset_less=True)
        m.d.sync += of_part.eq(factor)

        # floor(acc * 2**(18 - e)) has 27 bits, or the output saturates anyway.
        in_shift = shift_stages(self._amount_width)
        aligned = shift_right(
            m,
            [Cat(Const(0, _LEFT), accs[i]).as_signed() for i in range(width)],
            of_part.e[: self._amount_width],
            keep=_ALIGNED_WIDTH,
            name="aligned",
        )
        r = delayed(m, of_part.r, in_shift, name="r")
        is_zero = delayed(m, of_part.zero, in_shift + Product.latency, name="is_zero")
        item = queue.i.payload
        for i, value in enumerate(aligned):
            product = Product(
                a=Integer(_ALIGNED_WIDTH),
                b=Integer(len(r), is_signed=False),
                constant=1 << _DROPPED - 1,
            )
            m.submodules[f"product_{i}"] = product
            m.d.comb += [product.i_a.eq(value), product.i_b.eq(r)]
            quotient = product.o[_DROPPED:].as_signed()
            out = Signal(signed(self._out.width), name=f"out_{i}", reset_less=True)
            m.d.sync += out.eq(Mux(is_zero, 0, saturate(quotient, self._out)))
            m.d.comb += item.row[i].eq(out)
        valids = Signal(self._in_pipeline)
        ends = Signal()
        m.d.comb += ends.eq(word_is_last & (left == 1))
        m.d.sync += valids.eq(Cat(left != 0, valids))
        m.d.comb += [
            queue.i.valid.eq(valids[-1]),
            item.last.eq(delayed(m, ends, self._in_pipeline, name="last")),
        ]
        return m

    def _ask(self, m: Module, words: int, few_left: Signal) -> tuple[Value, Value]:
        """Count tiles and rows; keep reciprocals until they are needed.

        Returns whether the word asked for last is the last one of its query block, and the
        reciprocal of its row.
        """
        block, recip = self.i.payload, self.recip.payload
        m.submodules.gate = gate = CreditGate(shape=self.read.payload.shape(), credits=words)
        connect_stream(m, gate.o, wiring.flipped(self.read))
        place = gate.i.payload
        row_ends = Signal()
        block_ends = Signal()
        ended = Signal()
        row_ended = Signal()
        is_there = Signal()
        asks = Signal()
        asked = Signal()
        waiting = Signal()
        has_room = Signal()
        is_last = Signal(reset_less=True)
        tile, is_last_tile = count_to(m, block.d_tiles, moves=asked, name="tile")
        row, is_last_row = count_to(m, block.rows, moves=asked & row_ends, name="row")
        if self._parts == 1:
            m.d.comb += has_room.eq(~waiting | self.data.valid)
        else:
            m.d.comb += has_room.eq(~waiting & few_left)
        m.d.comb += [
            row_ends.eq(is_last_tile),
            block_ends.eq(row_ends & is_last_row),
            asks.eq(self.i.valid & ~ended & is_there & has_room),
            gate.i.valid.eq(asks),
            place.slot.eq(block.slot),
            place.row.eq(row),
            place.tile.eq(tile),
            asked.eq(asks & gate.i.ready),
            self.i.ready.eq(ended),
            self.done.valid.eq(ended),
            self.done.payload.slot.eq(block.slot),
        ]
        with m.If(asked):
            m.d.sync += [waiting.eq(1), is_last.eq(block_ends)]
        with m.Elif(self.data.valid):
            m.d.sync += waiting.eq(0)
        # The block goes a cycle after its last word is asked for: paths to here are long.
        m.d.sync += ended.eq(asked & block_ends)

        # A word's credit comes back with its last part, a cycle late: the way here is long.
        taken = Signal()
        n_taken = Signal(index(self._parts))
        is_last_part = Signal()
        m.d.comb += is_last_part.eq(n_taken == self._parts - 1)
        m.d.sync += taken.eq(self.o.valid & self.o.ready)
        m.d.comb += gate.returned.eq(taken & is_last_part)
        with m.If(taken):
            m.d.sync += n_taken.eq(Mux(is_last_part, 0, n_taken + 1))

        # Reciprocals wait in a memory; per slot, the number of those that do.
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
            r_port.en.eq(asked),
            r_port.addr.eq(row_address(of_row, **self._rows)),
        ]
        # Words of several parts are asked for two cycles apart at least: late is soon enough.
        goes = m.d.comb if self._parts == 1 else m.d.sync
        goes += row_ended.eq(asked & row_ends)
        for slot in range(self._rows["slots"]):
            is_slot = Signal(name=f"is_slot_{slot}")
            was_slot = Signal(name=f"was_slot_{slot}")
            waits = count_level(
                m,
                Signal(range(self._rows["block_rows"] + 1), name=f"n_waiting_{slot}"),
                most=self._rows["block_rows"],
                comes=self.recip.valid & (recip.tag.slot == slot),
                goes=row_ended & was_slot,
                name=f"waiting_{slot}_",
            )
            m.d.comb += is_slot.eq(block.slot == slot)
            goes += was_slot.eq(is_slot)
            with m.If(is_slot):
                m.d.comb += is_there.eq(waits.has_some)
        return is_last, r_port.data
