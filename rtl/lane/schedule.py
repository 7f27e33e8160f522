"""The order of a lane's work: jobs become steps, steps become passes of the matrix unit."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from .job import job_layout, pass_layout, step_layout

__all__ = ["PassScheduler", "StepExpander"]


class StepExpander(Component):
    """Cut each job into steps of one key tile.

    Members
    -------
    i : In(stream)
        Jobs.
    o : Out(stream)
        Steps, ``ceil(keys / size)`` per job and at least one; one per cycle, combinational.

    Parameters, and what is wrong with them, are those of
    :func:`~qkloom.rtl.lane.job.job_layout`.
    """

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        slots: int,
        runtime_precision: bool = False,
        gemm: bool = False,
        scores_only: bool = False,
        repeats: bool = False,
    ) -> None:
        self._size, self._gemm, self._repeats = size, gemm, repeats
        shape: dict[str, Any] = dict(
            size=size,
            block_rows=block_rows,
            head_dim=head_dim,
            tokens=tokens,
            slots=slots,
            runtime_precision=runtime_precision,
            gemm=gemm,
            scores_only=scores_only,
            repeats=repeats,
        )
        super().__init__(
            {
                "i": In(stream.Signature(job_layout(**shape))),
                "o": Out(stream.Signature(step_layout(**shape))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count key tiles; what is left of ``keys`` and ``diagonal`` shrinks by a tile a step."""
        m = Module()
        job, step, size = self.i.payload, self.o.payload, self._size
        first_key = Signal.like(job.keys)
        keys_after = Signal.like(job.keys, reset_less=True)  # what is left, but for the first tile
        keys_left = Signal.like(job.keys)
        after_is_last = Signal(reset_less=True)
        tile_first = Signal(init=1)
        tile_last = Signal()
        m.d.comb += [
            keys_left.eq(Mux(tile_first, job.keys, keys_after)),
            tile_last.eq(Mux(tile_first, job.keys <= size, after_is_last)),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready & tile_last),
            step.first.eq(job.first & tile_first),
            step.last.eq(job.last & tile_last),
            step.keys.eq(Mux(tile_last, keys_left, size)),
            step.diagonal.eq(job.diagonal - first_key),
        ]
        names = ("slot", "rows", "d_tiles", "causal", "mantissa", "shift", "planes", "scores_only")
        for name in (*names, "keeps"):
            if name in step.shape().members:
                m.d.comb += step[name].eq(job[name])
        if self._gemm:
            # Every job of a product has activations of its own.
            m.d.comb += [
                step.gemm.eq(job.gemm),
                step.out_slot.eq(job.out_slot),
                step.first.eq((job.first | job.gemm) & tile_first),
                step.last.eq((job.last | job.gemm) & tile_last),
                step.sum_first.eq(job.first),
                step.sum_last.eq(job.last),
            ]
        if self._repeats:
            m.d.comb += step.back.eq(job.keeps & tile_last)
        bank = Signal()
        m.d.comb += step.bank.eq(bank)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += bank.eq(~bank)
            m.d.sync += [
                first_key.eq(Mux(tile_last, 0, first_key + size)),
                keys_after.eq(keys_left - size),
                after_is_last.eq(keys_left <= 2 * size),
                tile_first.eq(tile_last),
            ]
        return m


class PassScheduler(Component):
    """Order the two products of all steps so that softmax hides behind the array's work.

    With steps k in their order, the array does Q.K of k+1, then P.V of k. A step's P.V is held back
    by one step only while a further step is known; so the last one of a burst waits for nothing.
    Nor does the last one of a query block when the next query block takes the same slot: its
    queries would wait for the slot, and the slot for the output.

    Steps of a matrix product, and those for scores only, have no second product. They come when all
    steps of attention are done.

    Members
    -------
    i : In(stream)
        Steps.
    passes : Out(stream)
        ``d_tiles`` passes over key tiles, then ``d_tiles`` over value tiles of the step before.
    steps : Out(stream)
        Each step, once its Q.K passes are all issued: work for the row unit.

    One pass per cycle at most; what follows takes a tile's loading time for each.
    """

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        slots: int,
        runtime_precision: bool = False,
        gemm: bool = False,
        scores_only: bool = False,
        repeats: bool = False,
    ) -> None:
        self._single = [name for name, may in (("gemm", gemm), ("scores_only", scores_only)) if may]
        shape: dict[str, Any] = dict(
            size=size,
            block_rows=block_rows,
            head_dim=head_dim,
            slots=slots,
            runtime_precision=runtime_precision,
        )
        steps = stream.Signature(
            step_layout(**shape, tokens=tokens, gemm=gemm, scores_only=scores_only, repeats=repeats)
        )
        passes = pass_layout(**shape, single=bool(self._single), repeats=repeats)
        super().__init__(
            {
                "i": In(steps),
                "steps": Out(steps),
                "passes": Out(stream.Signature(passes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Walk between the products; ``older`` is the step whose P.V comes next."""
        m = Module()
        step, out = self.i.payload, self.passes.payload
        older = Signal(step.shape(), reset_less=True)
        newer = Signal(step.shape(), reset_less=True)
        older_valid = Signal()
        newer_valid = Signal()
        source = Signal(step.shape())
        tile = Signal.like(out.tile)
        ends = Signal()
        names = ("first", "last", "slot", "bank", "rows", "d_tiles", "planes", "keeps", "back")
        for name in names:
            if name in out.shape().members:
                m.d.comb += out[name].eq(source[name])
        m.d.comb += [
            out.tile.eq(tile),
            out.tile_last.eq(tile == source.d_tiles - 1),
            ends.eq(self.passes.valid & self.passes.ready & out.tile_last),
            self.steps.payload.eq(step),
        ]
        with m.If(self.passes.valid & self.passes.ready):
            m.d.sync += tile.eq(Mux(out.tile_last, 0, tile + 1))

        # In the states "keys" and "values"; a register, as long paths begin with it.
        issues = Signal()
        m.d.comb += self.passes.valid.eq(issues)

        takes_slot = Signal()
        m.d.comb += takes_slot.eq(older_valid & step.first & (step.slot == older.slot))
        has_values = Value.cast(1)
        if self._single:
            is_single = Signal()
            m.d.comb += is_single.eq(Cat(*(step[name] for name in self._single)).any())
            has_values = ~is_single
            m.d.comb += out.single.eq(is_single & ~out.value)

        with m.FSM():
            with m.State("choose"):
                with m.If(self.i.valid & ~takes_slot):
                    m.d.sync += issues.eq(1)
                    m.next = "keys"
                with m.Elif(older_valid):
                    m.d.sync += issues.eq(1)
                    m.next = "values"
            with m.State("keys"):
                m.d.comb += source.eq(step)
                with m.If(ends):
                    m.d.sync += issues.eq(0)
                    m.next = "hand over"
            with m.State("hand over"):
                m.d.comb += [self.steps.valid.eq(1), self.i.ready.eq(self.steps.ready)]
                with m.If(self.steps.ready & older_valid):
                    m.d.sync += [newer.eq(step), newer_valid.eq(1), issues.eq(1)]
                    m.next = "values"
                with m.Elif(self.steps.ready):
                    m.d.sync += [older.eq(step), older_valid.eq(has_values)]
                    m.next = "choose"
            with m.State("values"):
                m.d.comb += [source.eq(older), out.value.eq(1)]
                with m.If(ends):
                    m.d.sync += issues.eq(0)
                    m.d.sync += [older.eq(newer), older_valid.eq(newer_valid), newer_valid.eq(0)]
                    m.next = "choose"
        return m
