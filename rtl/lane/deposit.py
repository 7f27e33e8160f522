"""Partial sums of a matrix product on their way from scores to outputs."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from .count import count_to
from .job import check_digits, index, step_layout
from .output import OutputAccumulator
from .place import row_layout
from .reciprocal import reciprocal_layout
from .tag import tag_layout

__all__ = ["Deposit"]


class Deposit(Component):
    """Add the sums of each step to the outputs of their slot, a row every ``digits`` cycles.

    ::

        step --> addresses --> read          score accumulator: word --+
                     |                                                 v
                     +--> place, a cycle later ----------> output accumulator

    A job of a matrix product sums up a chunk of the inner dimension in the score accumulator; here
    the chunks meet. The array works on the next step meanwhile. Behind the last chunk come the
    factors by which the normalizer multiplies the rows, in the form of reciprocals.

    Sums go to a slot only when its outputs so far have been asked for. The array waits for nothing
    as long as a chunk has more tiles than ``digits``: then a step is read in less time than the
    next one takes.

    Parameters
    ----------
    size, block_rows, head_dim, tokens, slots, runtime_precision
        As of the lane.
    digits : int
        Cycles that the output accumulator takes for a row: digits of a probability.
    row_width : int
        Scores of a chunk in the score accumulator.
    exponent_width : int
        Bits of an exponent that the normalizer looks at: a larger shift becomes the largest.

    Members
    -------
    step : In(stream)
        Steps of matrix products whose scores are complete. Taken with the last read.
    en, address : Out
        What to read of the step's bank in the score accumulator; the answer's ``word`` goes to the
        output accumulator.
    place : Out(stream)
        Tag of the row that is read, a cycle later.
    drained : Out(stream)
        ``bank`` of a step that has been read.
    unload : Out(stream)
        ``slot`` whose activations are used up.
    factor : Out(stream)
        A factor for each row of a finished sum.
    done : In(stream)
        ``slot`` of which all outputs have been asked for.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit a lane.
    """

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        slots: int,
        digits: int,
        row_width: int,
        exponent_width: int,
        runtime_precision: bool = False,
    ) -> None:
        check_digits(digits)
        self._most_shift = (1 << check_count("Exponent width", exponent_width)) - 1
        shape: dict[str, Any] = dict(
            size=size, block_rows=block_rows, head_dim=head_dim, slots=slots
        )
        step = step_layout(**shape, tokens=tokens, runtime_precision=runtime_precision, gemm=True)
        self._digits, self._slots = digits, slots
        self._row_bits, self._chunk_bits = ceil_log2(block_rows), ceil_log2(size // row_width)
        slot = data.StructLayout({"slot": index(slots)})
        factor = reciprocal_layout(row_layout(block_rows=block_rows, slots=slots))
        super().__init__(
            {
                "step": In(stream.Signature(step)),
                "en": Out(1),
                "address": Out(max(self._row_bits + self._chunk_bits, 1)),
                "place": Out(stream.Signature(tag_layout(**shape), always_ready=True)),
                "drained": Out(stream.Signature(data.StructLayout({"bank": 1}), always_ready=True)),
                "unload": Out(stream.Signature(slot, always_ready=True)),
                "factor": Out(stream.Signature(factor, always_ready=True)),
                "done": In(stream.Signature(slot, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count rows; remember which slots have outputs that must not be touched."""
        m = Module()
        step, place, factor = self.step.payload, self.place.payload, self.factor.payload
        reads = Signal()
        ends = Signal()
        sum_ends = Signal()
        running = Signal()
        waits = Signal()
        full = Signal(self._slots)
        tile = Signal.like(place.tile)
        row, is_last_row = count_to(m, step.rows, moves=reads, name="row")

        # A row may come again only when its last sum is written: so far apart are steps. Within a
        # step rows differ, and the output accumulator takes one every `digits` cycles.
        rest = Signal(OutputAccumulator.feedback)
        gap = Signal()
        m.d.comb += [
            waits.eq(~running & (rest[0] | step.sum_first & full.bit_select(step.out_slot, 1))),
            reads.eq(self.step.valid & ~waits & ~gap),
            ends.eq(reads & is_last_row),
            sum_ends.eq(step.last & step.sum_last),
            self.step.ready.eq(ends),
            self.en.eq(reads),
            self.address.eq(Cat(Const(0, self._chunk_bits), row[: self._row_bits])),
        ]
        m.d.sync += [rest.eq(Mux(reads, -1, rest >> 1)), gap.eq(reads & (self._digits == 2))]
        with m.If(reads):
            m.d.sync += running.eq(~is_last_row)
        with m.If(ends):
            m.d.sync += tile.eq(Mux(step.last, 0, tile + 1))
        with m.If(self.done.valid):
            m.d.sync += full.bit_select(self.done.payload.slot, 1).eq(0)
        with m.If(ends & sum_ends):
            m.d.sync += full.bit_select(step.out_slot, 1).eq(1)

        shift: Any = step["shift"]
        if self._most_shift < (1 << len(shift)) - 1:
            shift = Mux(shift > self._most_shift, self._most_shift, shift)
        m.d.sync += [
            self.place.valid.eq(reads),
            place.value.eq(1),
            place.first.eq(step.sum_first),
            place.complete.eq(is_last_row & sum_ends),
            place.slot.eq(step.out_slot),
            place.row.eq(row),
            place.tile.eq(tile),
            self.drained.valid.eq(ends),
            self.drained.payload.bank.eq(step.bank),
            self.unload.valid.eq(ends & step.last),
            self.unload.payload.slot.eq(step.slot),
            self.factor.valid.eq(reads & sum_ends),
            factor.r.eq(step.mantissa),
            factor.e.eq(shift),
            factor.tag.slot.eq(step.out_slot),
            factor.tag.row.eq(row),
        ]
        return m
