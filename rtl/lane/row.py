"""The row unit: base-2 online softmax of the rows of a score tile."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..buffer.port import read_port
from ..component import Component
from ..formats import Integer, ceil_log2
from .count import count_to
from .exp2 import Exp2
from .job import check_chunk, check_shape, index, step_layout
from .mask import Mask
from .maximum import RunningMaximum
from .numerics import Numerics
from .pipeline import delayed
from .place import chunk_layout, row_layout
from .rescale import RESCALE
from .scale import Scale
from .tap import score_tap, weight_tap
from .total import RunningSum

__all__ = ["RowUnit", "step_layout"]


class RowUnit(Component):
    """Turn scores into probabilities, ``row_width`` a cycle; keep each row's maximum and sum.

    ::

        step --> addresses --> r (score memory)
           |
           +-- factor, mask
           v
        r.data --> scale --> mask -+-> delay line --> distance --> exp2 -+--> digits -----> o_p
                                   |                  ^                  v
                                   +--> maximum of the tile, rescale --> running sum --> o_sum

    A row is ``chunks = size / row_width`` chunks. A step of ``rows`` rows takes ``rows * chunks``
    cycles, or 6 if that is more; the next one starts right behind. Nothing inside ever waits: all
    outputs must be taken at once. Probabilities leave ``14 + chunks + ceil_log2(row_width)`` cycles
    plus the latency of :class:`~qkloom.rtl.lane.exp2.Exp2` after the read of their scores.

    Parameters
    ----------
    size : int
        Keys of a tile: scores in a row.
    block_rows : int
        Most rows of a step.
    row_width : int
        Scores per cycle; divides ``size``.
    slots : int
        Query blocks whose maxima and sums are kept.
    head_dim, tokens, p_width, segments, fraction, stream_width, stationary_width : int
        See :class:`~qkloom.rtl.lane.numerics.Numerics`.
    taps : bool
        Show scores and probabilities to others.

    Members
    -------
    step : In(stream)
        See :func:`~qkloom.rtl.lane.job.step_layout`. Key ``c`` of the tile is visible to row ``i``
        when ``c < keys`` and, if ``causal``, ``c <= diagonal + i``. Taken with its last read.
    r : Out(read_port)
        Scores, by ``bank``; the address is the chunk (low bits) and the row; latency 1.
    released : Out(stream)
        ``bank`` of a step whose scores have been read.
    o_p : Out(stream)
        ``chunk`` of a ``row``: ``digits`` of its probabilities, high digit first, ``stream_width``
        bits each; ``rescale``, which is :data:`~qkloom.rtl.lane.rescale.RESCALE`, is the same for
        all chunks of a row.
    o_sum : Out(stream)
        Sum ``l`` of each row of a query block's last step; ``tag`` names the row.
    done : Out(stream)
        ``bank`` of a step, the cycle after its last probabilities.
    scores, weights : Out(stream)
        With ``taps``, each chunk of scores and of probabilities:
        :mod:`~qkloom.rtl.lane.tap`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int,
        block_rows: int,
        row_width: int,
        slots: int,
        head_dim: int,
        tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        stream_width: int = 8,
        stationary_width: int = 8,
        taps: bool = False,
    ) -> None:
        self._numerics = Numerics(
            size=size,
            head_dim=head_dim,
            tokens=tokens,
            p_width=p_width,
            segments=segments,
            fraction=fraction,
            stream_width=stream_width,
            stationary_width=stationary_width,
        )
        check_shape(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots, tokens=tokens)
        check_chunk("Row width", row_width, size=size)
        self._row_width, self._chunks = row_width, size // row_width
        self._rows = {"block_rows": block_rows, "slots": slots}
        self._taps = taps

        numbers = self._numerics
        step = step_layout(
            size=size, block_rows=block_rows, head_dim=head_dim, tokens=tokens, slots=slots
        )
        scores = data.ArrayLayout(Integer(numbers.score_width), row_width)
        depth = 1 << ceil_log2(block_rows) + ceil_log2(self._chunks)
        bank = data.StructLayout({"bank": 1})
        probabilities = data.StructLayout(
            {
                "bank": 1,
                "row": index(block_rows),
                "chunk": index(self._chunks),
                "digits": data.ArrayLayout(
                    data.ArrayLayout(stream_width, numbers.digits), row_width
                ),
                "rescale": RESCALE,
            }
        )
        total = data.StructLayout({"l": numbers.sum_width, "tag": row_layout(**self._rows)})
        super().__init__(
            {
                "step": In(stream.Signature(step)),
                "r": Out(read_port(banks=2, depth=depth, shape=scores)),
                "released": Out(stream.Signature(bank, always_ready=True)),
                "o_p": Out(stream.Signature(probabilities, always_ready=True)),
                "o_sum": Out(stream.Signature(total, always_ready=True)),
                "done": Out(stream.Signature(bank, always_ready=True)),
            }
            | (self._tap_ports() if taps else {})
        )

    def _tap_ports(self) -> dict[str, wiring.Member]:
        size, width = self._numerics.size, self._row_width
        layouts = {
            "scores": score_tap(size=size, row_width=width, score_width=self._numerics.score_width),
            "weights": weight_tap(
                size=size, row_width=width, p_width=self._numerics.p_width, **self._rows
            ),
        }
        return {
            name: Out(stream.Signature(layout, always_ready=True))
            for name, layout in layouts.items()
        }

    def elaborate(self, platform: object) -> Module:
        """Build the parts; meet each chunk where it is, so many cycles after its read."""
        m = Module()
        numbers, width = self._numerics, self._row_width
        m.submodules.scale = scale = Scale(
            row_width=width, score_width=numbers.score_width, fraction=numbers.fraction
        )
        m.submodules.mask = mask = Mask(
            size=numbers.size,
            row_width=width,
            block_rows=self._rows["block_rows"],
            tokens=numbers.tokens,
        )
        m.submodules.maximum = maximum = RunningMaximum(row_width=width, **self._rows)
        exps = []
        for i in range(width):
            exp2 = Exp2(
                segments=numbers.segments,
                fraction=numbers.fraction,
                p_width=numbers.p_width,
                stream_width=numbers.stream_width,
            )
            m.submodules[f"exp2_{i}"] = exp2
            exps.append(exp2)
        m.submodules.total = total = RunningSum(
            row_width=width, p_width=numbers.p_width, sum_width=numbers.sum_width, **self._rows
        )
        at_scores = 1
        at_x = at_scores + scale.latency
        at_masked = at_x + 1
        at_maximum = at_masked + maximum.latency + self._chunks - 1
        at_y = at_maximum + 1
        at_p = at_y + exps[0].latency
        at_digits = at_p + 1

        tag = self._read(m, spacing=max(maximum.feedback, total.feedback))
        valids = Signal(at_digits)
        m.d.sync += valids.eq(Cat(self.r.en, valids))
        tags, now = {0: tag}, 0
        for then in (at_masked, at_p, at_digits):
            tags[then] = Signal(tag.shape(), name=f"tag_{then}")
            m.d.comb += tags[then].eq(delayed(m, tags[now], then - now, name=f"tag_at_{then}"))
            now = then

        # Scores become base-2 scores. What the row must not see becomes lower than any of them.
        step = self.step.payload
        factor = delayed(m, Cat(step.mantissa, step["shift"]), at_scores, name="factor")
        m.d.comb += [
            scale.i.scores.eq(self.r.data),
            Cat(scale.i.mantissa, scale.i["shift"]).eq(factor),
            mask.i.row.eq(tag.place.row),
            mask.i.chunk.eq(tag.chunk),
            mask.i["keys"].eq(step["keys"]),
            mask.i.causal.eq(step.causal),
            mask.i.diagonal.eq(step.diagonal),
        ]
        visible = delayed(m, mask.o, at_x - mask.latency, name="visible")
        masked = Signal(scale.o.shape(), reset_less=True)
        lowest = numbers.max_init << numbers.fraction
        chunk_in = maximum.i.payload
        for i in range(width):
            m.d.sync += masked[i].eq(Mux(visible[i], scale.o[i], lowest))
            below, integer = masked[i][: numbers.fraction], masked[i][numbers.fraction :]
            m.d.comb += chunk_in.x[i].eq(Cat(below.any(), integer))
        m.d.comb += [
            maximum.i.valid.eq(valids[at_masked - 1]),
            chunk_in.place.eq(tags[at_masked].place),
        ]

        # They wait until the tile's maximum of their row is known; their distance to it counts.
        waiting = delayed(m, masked, at_maximum - at_masked, name="waiting")
        is_visible = delayed(m, visible, at_y - at_x, name="is_visible")
        top = maximum.o.payload.tile
        for i, exp2 in enumerate(exps):
            x = waiting.word_select(i, numbers.x_width).as_signed()
            y = Signal(exp2.i.y.shape(), name=f"y_{i}", reset_less=True)
            m.d.sync += y.eq(((top << numbers.fraction) - x)[: len(y)])
            m.d.comb += [exp2.i.y.eq(y), exp2.i.visible.eq(is_visible[i])]

        # Which of both maxima is higher, and by how much.
        before = maximum.o.payload.before
        rise = Signal(signed(numbers.max_width + 1), reset_less=True)
        fall = Signal(signed(numbers.max_width + 1), reset_less=True)
        difference = Signal(signed(numbers.max_width + 1))
        rescale = Signal(RESCALE, reset_less=True)
        m.d.comb += difference.eq(Mux(rise < 0, fall, rise))
        m.d.sync += [
            rise.eq(top - before),
            fall.eq(before - top),
            rescale.of_new.eq(rise < 0),
            rescale.amount.eq(
                Mux(
                    difference > numbers.rescale_max,
                    numbers.rescale_max,
                    difference[: numbers.shift_width],
                )
            ),
        ]

        # Probabilities: summed, and cut into digits.
        with_p = total.i.payload
        m.d.comb += [
            total.i.valid.eq(valids[at_p - 1]),
            with_p.rescale.eq(delayed(m, rescale, at_p - at_maximum - 2, name="rescale_at_p")),
            with_p.place.eq(tags[at_p].place),
            self.o_sum.valid.eq(total.o.valid),
            self.o_sum.payload.eq(total.o.payload),
        ]
        out = Signal(self.o_p.payload.shape())
        digits = Signal(out.digits.shape(), reset_less=True)
        for i, exp2 in enumerate(exps):
            m.d.comb += with_p.p[i].eq(exp2.o)
            for j, digit in enumerate(split(with_p.p[i], numbers)):
                m.d.sync += digits[i][j].eq(digit)
        end = tags[at_digits]
        m.d.comb += [
            out.bank.eq(end.bank),
            out.row.eq(end.place.row),
            out.chunk.eq(end.chunk),
            out.digits.eq(digits),
            out.rescale.eq(delayed(m, with_p.rescale, 1, name="rescale_at_digits")),
            self.o_p.payload.eq(out),
            self.o_p.valid.eq(valids[at_digits - 1]),
        ]
        for port, ends, bank in (
            (self.released, self.r.en & tag.step_end, tag.bank),
            (self.done, self.o_p.valid & end.step_end, end.bank),
        ):
            m.d.sync += [port.valid.eq(ends), port.payload.bank.eq(bank)]
        if self._taps:
            self._show_scores(m, tag)
            at = at_p - at_maximum
            running = Signal(signed(numbers.max_width), reset_less=True)
            fell = Signal(signed(numbers.max_width), reset_less=True)
            rose = Signal(signed(numbers.max_width), reset_less=True)
            m.d.sync += [rose.eq(top), fell.eq(before), running.eq(Mux(rise < 0, fell, rose))]
            weights, chunk = self.weights.payload, tags[at_p]
            diagonal = delayed(m, step.diagonal[: len(weights.diagonal)], at_p, name="diagonal")
            m.d.comb += [
                self.weights.valid.eq(valids[at_p - 1]),
                weights.p.eq(with_p.p),
                weights.rescale.eq(with_p.rescale),
                weights.maximum.eq(delayed(m, running, at - 2, name="running")),
                weights.place.eq(chunk.place),
                weights.chunk.eq(chunk.chunk),
                weights.diagonal.eq(diagonal),
                weights.step_end.eq(chunk.step_end),
            ]
        return m

    def _show_scores(self, m: Module, tag: data.View) -> None:
        """Show what is read, the cycle after its address."""
        scores = self.scores.payload
        m.d.sync += [
            self.scores.valid.eq(self.r.en),
            scores["keys"].eq(self.step.payload["keys"]),
            scores.chunk.eq(tag.chunk),
            scores.step_end.eq(tag.step_end),
            scores.last.eq(tag.place.last),
        ]
        m.d.comb += scores.scores.eq(self.r.data)

    def _read(self, m: Module, *, spacing: int) -> data.View:
        """Count rows and chunks of a step, and say of what is read in this cycle what it is.

        A row's state is read and written at fixed distances from the reads of its scores: what one
        read leads to is there for all that come ``spacing`` cycles later. Row ``i`` is read
        ``i * chunks`` cycles after its step starts. So it suffices that steps start ``spacing``
        cycles apart, whatever their slots and rows are; those of enough rows do anyway.
        """
        step = self.step.payload
        tag = Signal(
            data.StructLayout(
                {
                    "place": chunk_layout(**self._rows),
                    "bank": 1,
                    "chunk": index(self._chunks),
                    "step_end": 1,
                }
            )
        )
        row_ends = Signal()
        row, is_last_row = count_to(m, step.rows, moves=row_ends, name="row")
        chunk = Signal.like(tag.chunk)
        running = Signal()
        rest = Signal(spacing - 1)  # bit n: it lasts for n more cycles, at least
        m.d.comb += [
            self.r.en.eq(self.step.valid & (running | ~rest[0])),
            row_ends.eq(self.r.en & tag.place.end),
            self.r.bank.eq(step.bank),
            self.r.address.eq(
                Cat(chunk[: ceil_log2(self._chunks)], row[: ceil_log2(self._rows["block_rows"])])
            ),
            tag.place.slot.eq(step.slot),
            tag.place.row.eq(row),
            tag.place.begin.eq(chunk == 0),
            tag.place.end.eq(chunk == self._chunks - 1),
            tag.place.first.eq(step.first),
            tag.place.last.eq(step.last),
            tag.bank.eq(step.bank),
            tag.chunk.eq(chunk),
            tag.step_end.eq(tag.place.end & is_last_row),
            self.step.ready.eq(self.r.en & tag.step_end),
        ]
        m.d.sync += rest.eq(rest >> 1)
        with m.If(self.r.en):
            m.d.sync += [
                chunk.eq(Mux(tag.place.end, 0, chunk + 1)),
                running.eq(~tag.step_end),
            ]
            with m.If(~running):
                m.d.sync += rest.eq(-1)
        return tag


def split(p: Value, numerics: Numerics) -> list[Value]:
    """Return the digits of a probability, high digit first; each fits ``stream_width``.

    Of signed digits the high one is the probability rounded, and the low one what is left.
    """
    bits = numerics.digit_bits
    if numerics.digits == 1:
        return [p]
    if not numerics.digit_is_signed:
        return [p[bits:], p[:bits]]
    return [(p + numerics.digit_base // 2) >> bits, p[:bits].as_signed()]
