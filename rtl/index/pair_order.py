"""All pairs of a query block and a KV block that it sees, in order."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.count import count_to
from ..lane.job import index

__all__ = ["PairOrder", "step_layout", "sweep_layout"]


def sweep_layout(*, blocks: int, beats: int) -> data.StructLayout:
    """Return what a sweep is over: ``rows`` and ``beats``, each 1 or more."""
    return data.StructLayout({"rows": range(blocks + 1), "beats": range(beats + 1)})


def step_layout(*, blocks: int, beats: int) -> data.StructLayout:
    """Return a beat of a pair.

    ``first``, ``last``: of the pair; ``row_first``, ``row_last``: pair of its row; ``end``: the
    pair is the last one.
    """
    return data.StructLayout(
        {
            "row": index(blocks),
            "column": index(blocks),
            "beat": index(beats),
            "first": 1,
            "last": 1,
            "row_first": 1,
            "row_last": 1,
            "end": 1,
        }
    )


class PairOrder(Component):
    """Count rows from 0, columns from 0 to the row, beats of each pair: a step a cycle.

    The first step is there a cycle after the sweep is taken, and the next sweep is taken a cycle
    after the last step.

    Parameters
    ----------
    blocks, beats : int
        Most rows, and most beats of a pair.

    Members
    -------
    i : In(stream)
        A sweep: :func:`sweep_layout`.
    o : Out(stream)
        Its steps: :func:`step_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, beats: int) -> None:
        check_count("Number of blocks", blocks)
        check_count("Beats", beats)
        self._beats = beats
        sizes = {"blocks": blocks, "beats": beats}
        super().__init__(
            {
                "i": In(stream.Signature(sweep_layout(**sizes))),
                "o": Out(stream.Signature(step_layout(**sizes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count within one another."""
        m = Module()
        asked = Signal(self.i.payload.shape(), reset_less=True)
        active = Signal()
        moves = Signal()
        ends_pair = Signal()
        ends_row = Signal()
        step = self.o.payload
        length = Signal.like(asked.rows, init=1)  # of the row
        if self._beats > 1:
            beat = count_to(m, asked.beats, moves=moves, name="beat")
            beat_index, is_last = beat.index, beat.is_last
        else:
            beat_index, is_last = Const(0), Const(1)
        column = count_to(m, length, moves=ends_pair, name="column")
        row = count_to(m, asked.rows, moves=ends_row, name="row")
        is_first_beat = Signal(init=1)
        is_first_column = Signal(init=1)
        m.d.comb += [
            self.i.ready.eq(~active),
            self.o.valid.eq(active),
            moves.eq(active & self.o.ready),
            ends_pair.eq(moves & is_last),
            ends_row.eq(ends_pair & column.is_last),
            step.row.eq(row.index[: len(step.row)]),
            step.column.eq(column.index[: len(step.column)]),
            step.beat.eq(beat_index[: len(step.beat)]),
            step.first.eq(is_first_beat),
            step.last.eq(is_last),
            step.row_first.eq(is_first_column),
            step.row_last.eq(column.is_last),
            step.end.eq(column.is_last & row.is_last),
        ]
        with m.If(moves):
            m.d.sync += is_first_beat.eq(is_last)
        with m.If(ends_pair):
            m.d.sync += is_first_column.eq(column.is_last)
        with m.If(ends_row):
            m.d.sync += length.eq(Mux(row.is_last, 1, length + 1))
        with m.If(ends_row & row.is_last):
            m.d.sync += active.eq(0)
        with m.If(self.i.valid & ~active):
            m.d.sync += [asked.eq(self.i.payload), active.eq(1)]
        return m
