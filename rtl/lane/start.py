"""When a step may start: once its scores are complete."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..stream import Queue, RegisterSlice, connect_stream
from ..stream.level import count_level

__all__ = ["StepStart"]

_STEPS = 3
"""Steps whose scores may be on their way: the banks of the score accumulator, and one more."""


class StepStart(Component):
    """Hold steps until their scores are complete; give them to row unit or deposit.

    ::

        i --> queue --+--> slice --> o      of attention: row unit
                      +--> slice --> sums   of a product: deposit

    Attention and products never meet in a lane: at most one of both has a step.

    Parameters
    ----------
    shape : StructLayout
        Of steps: :func:`~qkloom.rtl.lane.job.step_layout`.
    row_shape : StructLayout
        The fields of it that the row unit looks at.
    gemm, scores_only : bool
        Whether a step may be of a product, or for scores only.

    Members
    -------
    i : In(stream)
        Steps, in the order of their scores.
    complete : In(1)
        The scores of one more step are there.
    o : Out(stream)
        Steps of attention.
    sums : Out(stream)
        With ``gemm``, steps of products.
    is_product, is_scores_only : Out(1)
        With ``gemm``, with ``scores_only``: what the last step was that started.
    """

    def __init__(
        self,
        *,
        shape: data.StructLayout,
        row_shape: data.StructLayout,
        gemm: bool = False,
        scores_only: bool = False,
    ) -> None:
        self._shape, self._row_shape = shape, row_shape
        self._gemm, self._scores_only = gemm, scores_only
        more: dict[str, Any] = {}
        if gemm:
            more |= {"sums": Out(stream.Signature(shape)), "is_product": Out(1)}
        if scores_only:
            more |= {"is_scores_only": Out(1)}
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "complete": In(1),
                "o": Out(stream.Signature(row_shape)),
                **more,
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count complete steps that wait."""
        m = Module()
        m.submodules.queue = queue = Queue(shape=self._shape, depth=_STEPS)
        m.submodules.row = row = RegisterSlice(shape=self._row_shape)
        connect_stream(m, wiring.flipped(self.i), queue.i)
        connect_stream(m, row.o, wiring.flipped(self.o))
        starts = Signal()
        level = Signal(range(_STEPS + 1))
        complete = count_level(m, level, most=_STEPS, comes=self.complete, goes=starts)
        may_start = Signal()
        step = queue.o.payload
        m.d.comb += [
            may_start.eq(queue.o.valid & complete.has_some),
            starts.eq(may_start & row.i.ready),
            row.i.valid.eq(may_start),
            queue.o.ready.eq(starts),
        ]
        for name in self._row_shape.members:
            m.d.comb += row.i.payload[name].eq(step[name])
        if self._scores_only:
            with m.If(starts):
                m.d.sync += self.is_scores_only.eq(step.scores_only)
        if self._gemm:
            m.submodules.sum = sums = RegisterSlice(shape=self._shape, mode="half")
            connect_stream(m, sums.o, wiring.flipped(self.sums))
            m.d.comb += sums.i.payload.eq(step)
            with m.If(step.gemm):
                m.d.comb += [
                    row.i.valid.eq(0),
                    sums.i.valid.eq(may_start),
                    starts.eq(may_start & sums.i.ready),
                ]
            with m.If(starts):
                m.d.sync += self.is_product.eq(step.gemm)
        return m
