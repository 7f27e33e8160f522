"""The lane: one matrix unit and everything that keeps it busy with attention."""

from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Fixed, Integer
from ..index.masses import BlockMasses, mass_layout
from ..index.numerics import IndexNumerics
from ..matrix.kinds import matrix_kind
from ..memory import check_memory
from ..stream import Queue, RegisterSlice, connect_fields, connect_stream
from .deposit import Deposit
from .feeder import Feeder
from .job import check_chunk, job_layout
from .loader import TileLoader
from .normalize import Normalizer
from .numerics import Numerics
from .output import OutputAccumulator
from .place import row_layout
from .probability import ProbabilityBuffer
from .query import QueryBuffer
from .reciprocal import Reciprocal
from .requantize import WORD, Requantizer
from .row import RowUnit
from .schedule import PassScheduler, StepExpander
from .score import ScoreAccumulator
from .start import StepStart
from .tag import tag_layout

__all__ = ["Lane", "lane_kind", "lane_payloads"]


def lane_kind(kind: str) -> dict[str, Any]:
    """Return what ``"dsp"``, ``"dsp+ultra"`` or ``"lut+serial"`` says of a lane.

    That is ``matrix``, and behind it what differs from the usual: a ``memory``, and ``serial`` for
    ``runtime_precision``.

    Raises
    ------
    ValueError
        When it says something else.
    """
    matrix, *more = kind.split("+")
    serial = "serial" in more
    memory = [name for name in more if name != "serial"]
    if len(memory) > 1 or len(more) > len(memory) + serial:
        raise ValueError(f"A lane must be a matrix, or matrix+memory, not {kind!r}")
    _check_matrix(matrix, serial)
    for name in memory:
        check_memory(name)
    return {
        "matrix": matrix,
        "memory": memory[0] if memory else "auto",
        "runtime_precision": serial,
    }


def _check_matrix(matrix: str, runtime_precision: bool) -> None:
    matrix_kind(matrix)
    if runtime_precision and matrix != "lut":
        raise ValueError(f"Matrix must be 'lut' with runtime precision, not {matrix!r}")


def lane_payloads(
    *,
    matrix: str = "plain",
    size: int,
    block_rows: int,
    head_dim: int,
    tokens: int,
    p_width: int,
    segments: int,
    fraction: int,
    row_width: int,
    out_width: int,
    memory: str = "auto",
    slots: int = 2,
    stream_width: int = 8,
    stationary_width: int = 8,
    runtime_precision: bool = False,
    gemm: bool = False,
    index_tokens: int = 0,
    index_memory: str = "auto",
    kv_blocks: int = 0,
) -> dict[str, data.StructLayout | data.ArrayLayout]:
    """Return the payload of each stream of a lane; parameters, and errors, as of :class:`Lane`."""
    _check_matrix(matrix, runtime_precision)
    if not isinstance(size, int) or size < 4 or size & size - 1:
        raise ValueError(f"Size must be a power of two of at least 4, not {size!r}")
    numerics = Numerics(
        size=size,
        head_dim=head_dim,
        tokens=tokens,
        p_width=p_width,
        segments=segments,
        fraction=fraction,
        stream_width=stream_width,
        stationary_width=stationary_width,
    )
    check_chunk("Row width", row_width, size=size)
    check_chunk("Out width", out_width, size=size)
    check_memory(memory)
    check_memory(index_memory)
    if gemm and size % (4 * out_width):
        raise ValueError(f"Out width must be at most {size // 4} with gemm, not {out_width}")
    output = WORD if gemm else Fixed(Numerics.out_integer, Numerics.out_fraction)
    tile_row = data.StructLayout(
        {"row": data.ArrayLayout(Integer(stationary_width), size), "last": 1}
    )
    job = job_layout(
        size=size,
        block_rows=block_rows,
        head_dim=head_dim,
        tokens=tokens,
        slots=slots,
        runtime_precision=runtime_precision,
        gemm=gemm,
        scores_only=index_tokens > 0,
        repeats=kv_blocks > 0,
    )
    masses = {}
    if index_tokens > tokens:
        raise ValueError(f"Index tokens must be at most tokens {tokens}, not {index_tokens}")
    if index_tokens:
        masses["o_mass"] = mass_layout(
            IndexNumerics(lane=numerics, block=block_rows, tokens=index_tokens)
        )
    return {
        "i_job": job,
        "i_query": data.ArrayLayout(Integer(stream_width), size),
        "i_key": tile_row,
        "i_value": tile_row,
        "o": data.StructLayout({"row": data.ArrayLayout(output, out_width), "last": 1}),
        **masses,
    }


class Lane(Component):
    """Attention for one query block at a time, bit for bit as its exact model in ``tb/exact.py``.

    Keys and values are stationary, queries and probabilities stream. The softmax of a key tile runs
    while the array works on its neighbours; two slots let the output of one query block leave while
    the next one is computed.

    ::

        jobs ---> steps ---> passes -+----------------------------+
                    |                v                            v
        keys, values|          tile loader --> MATRIX UNIT <-- feeder <-- query buffer <-- queries
                    |                             |    |          ^
                    |          score accumulator -+    |          |
                    |                 v                |   probability buffer
                    +------------> row unit -----------|----------+
                                      | sums           v
                                  reciprocal     output accumulator
                                      |                v
                                      +--------> normalizer --> outputs

    Parameters
    ----------
    matrix : str
        What multiplies: ``"plain"``, products as the synthesis tool makes them; ``"dsp"``, two in
        each DSP slice; ``"lut"``, tables of subset sums. Outputs are the same.
    size : int
        Rows and columns of the array; a power of two. The tile of keys that leaves the first
        product is the tile that enters the second, so a lane is square.
    block_rows : int
        Most query rows, and most keys, of a job.
    head_dim : int
        Largest head dimension, a multiple of ``size``.
    tokens : int
        Longest sequence; widths of sums follow from it.
    p_width, segments, fraction : int
        Numbers of the softmax; see :class:`~qkloom.rtl.lane.numerics.Numerics`.
    row_width : int
        Scores that the row unit takes per cycle.
    out_width : int
        Outputs that leave per cycle; few suffice, since a query block has few beside its work.
    memory : str
        What outputs are summed up in: ``"auto"``, what synthesis finds best; ``"ultra"``, UltraRAM.
    slots : int
        Query blocks in the lane at a time.
    stream_width, stationary_width : int
        Bits of queries and digits of probabilities, and of keys and values: 4 or 8.
    runtime_precision : bool
        Of a LUT lane, feed the bits of what streams one after the other: a row takes as many cycles
        as it has bits. Jobs say how many their queries have; digits have what they need.
    gemm : bool
        Multiply matrices as well: weights are keys, activations queries, and a job is as
        :mod:`~qkloom.rtl.lane.job` says. A product follows attention, and attention a product, only
        when all outputs have left.
    index_tokens : int
        Longest sequence of which the lane says where a head's last queries attend: jobs for scores
        only, see :class:`~qkloom.rtl.index.masses.BlockMasses`. 0: none. Such jobs follow others,
        and others follow them, only when all that came of them has left.
    index_memory : str
        What attention of these is kept in, as ``memory``.
    kv_blocks : int
        KV blocks for which there is room: while one is worked on, others come, which other lanes
        need as well, and a job may keep its block for the next one. 0: room for two strips of
        ``size`` tokens, which does where all lanes need the same blocks.

    Members
    -------
    i_job : In(stream)
        Jobs: :func:`~qkloom.rtl.lane.job.job_layout`. A query block's jobs come in ascending order
        of keys; the next query block may use the same slot only after all jobs of this one.
    i_query : In(stream)
        Query rows of each job that is ``first``, chunks of ``size`` elements, token-major.
    i_key, i_value : In(stream)
        Rows of each job's key tiles, likewise, ``last`` on a token's last chunk. A tile that ends
        early is filled up to ``size`` tokens; what the filling holds does not matter.
    o : Out(stream)
        Output rows in the order of jobs, ``out_width`` elements of ``Fixed(8, 16)`` a beat,
        ``last`` on the last beat of a query block. With ``gemm``, elements are words of 32 bits:
        outputs with their sign extended, or four integers of 8 bits each.
    o_mass : Out(stream)
        With ``index_tokens``, :func:`~qkloom.rtl.index.masses.mass_layout` of each KV block of
        jobs for scores only.

    Every stream must be served independently of the others: a lane may need a job's keys before it
    takes the next job's queries.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        matrix: str = "plain",
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        row_width: int,
        out_width: int,
        memory: str = "auto",
        slots: int = 2,
        stream_width: int = 8,
        stationary_width: int = 8,
        runtime_precision: bool = False,
        gemm: bool = False,
        index_tokens: int = 0,
        index_memory: str = "auto",
        kv_blocks: int = 0,
    ) -> None:
        payloads = lane_payloads(**self.parameters)
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
        self._shape: dict[str, Any] = dict(
            size=size, block_rows=block_rows, head_dim=head_dim, slots=slots
        )
        if kv_blocks:
            check_count("KV blocks", kv_blocks)
        self._matrix, self._memory, self._index_memory = matrix, memory, index_memory
        self._runtime_precision, self._gemm = runtime_precision, gemm
        self._index_tokens, self._kv_blocks = index_tokens, kv_blocks
        self._tokens, self._row_width, self._out_width = tokens, row_width, out_width
        super().__init__(
            {
                name: (In if name.startswith("i_") else Out)(stream.Signature(payload))
                for name, payload in payloads.items()
            }
        )

    @property
    def numerics(self) -> Numerics:
        """Widths, ranges and tables of the lane's numbers."""
        return self._numerics

    def elaborate(self, platform: object) -> Module:
        """Connect the units; where they meet is a stream, or a pulse that is always taken."""
        m = Module()
        shape, numbers = self._shape, self._numerics
        size, slots = shape["size"], shape["slots"]

        # Units
        order: dict[str, Any] = {
            "tokens": self._tokens,
            "runtime_precision": self._runtime_precision,
        }
        product = {"gemm": True} if self._gemm else {}
        single = product | ({"scores_only": True} if self._index_tokens else {})
        again = {"repeats": True} if self._kv_blocks else {}
        m.submodules.expander = expander = StepExpander(**shape, **order, **single, **again)
        m.submodules.scheduler = scheduler = PassScheduler(**shape, **order, **single, **again)
        stream_width, stationary_width = numbers.stream_width, numbers.stationary_width
        m.submodules.loader = loader = TileLoader(
            **shape,
            is_signed=numbers.digit_is_signed,
            stationary_width=stationary_width,
            runtime_precision=self._runtime_precision,
            digit_planes=numbers.digit_planes if self._runtime_precision else None,
            **self._room_for_blocks(),
        )
        m.submodules.queries = queries = QueryBuffer(**shape, stream_width=stream_width)
        m.submodules.probabilities = probabilities = ProbabilityBuffer(
            size=size,
            block_rows=shape["block_rows"],
            row_width=self._row_width,
            digits=numbers.digits,
            stream_width=stream_width,
        )
        m.submodules.feeder = feeder = Feeder(
            **shape,
            digits=numbers.digits,
            stream_width=stream_width,
            single=bool(single),
        )
        more: dict[str, Any] = {"planes": "serial"} if self._runtime_precision else {}
        m.submodules.matrix = matrix = matrix_kind(self._matrix)(
            rows=size,
            cols=size,
            stream=Integer(stream_width),
            stationary=Integer(stationary_width),
            mixed_signs=not numbers.digit_is_signed,  # queries always are
            tag=tag_layout(**shape),
            **more,
        )
        m.submodules.scores = scores = ScoreAccumulator(
            **shape,
            row_width=self._row_width,
            product_width=matrix.acc_width,
            score_width=numbers.score_width,
            **product,
        )
        m.submodules.row_unit = row_unit = RowUnit(
            **shape,
            tokens=self._tokens,
            row_width=self._row_width,
            p_width=numbers.p_width,
            segments=numbers.segments,
            fraction=numbers.fraction,
            stream_width=stream_width,
            stationary_width=stationary_width,
            taps=self._index_tokens > 0,
        )
        m.submodules.reciprocal = reciprocal = Reciprocal(
            sum_width=numbers.sum_width,
            tag=row_layout(block_rows=shape["block_rows"], slots=slots),
        )
        m.submodules.outputs = outputs = OutputAccumulator(
            **shape,
            product_width=numbers.score_width if self._gemm else matrix.acc_width,
            acc_width=numbers.acc_width,
            digits=numbers.digits,
            digit_bits=numbers.digit_bits,
            memory=self._memory,
            **product,
        )
        m.submodules.normalizer = normalizer = Normalizer(
            **shape,
            out_width=self._out_width,
            acc_width=numbers.acc_width,
            stationary_width=stationary_width,
        )

        # Jobs become steps and passes; a query block's first job also fetches its queries, and
        # every job of a matrix product its activations.
        job = self.i_job.payload
        loads_rows = Signal()
        m.d.comb += loads_rows.eq(job.first | job.gemm if self._gemm else job.first)
        m.submodules.job = next_job = RegisterSlice(shape=job.shape(), mode="half")
        connect_stream(m, next_job.o, expander.i)
        m.submodules.loads = loads = Queue(shape=queries.load.payload.shape(), depth=slots)
        noted = Signal()
        m.d.comb += [
            loads.i.valid.eq(self.i_job.valid & loads_rows & ~noted),
            next_job.i.valid.eq(self.i_job.valid & (~loads_rows | noted)),
            next_job.i.payload.eq(job),
            self.i_job.ready.eq(next_job.i.ready & (~loads_rows | noted)),
        ]
        for name in ("slot", "rows", "d_tiles"):
            m.d.comb += loads.i.payload[name].eq(job[name])
        with m.If(loads.i.valid & loads.i.ready):
            m.d.sync += noted.eq(1)
        with m.If(self.i_job.valid & self.i_job.ready):
            m.d.sync += noted.eq(0)
        connect_stream(m, loads.o, queries.load)
        connect_stream(m, wiring.flipped(self.i_query), queries.i)
        m.submodules.steps = steps = Queue(shape=expander.o.payload.shape(), depth=2)
        connect_stream(m, expander.o, steps.i)
        connect_stream(m, steps.o, scheduler.i)

        # A pass goes to the tile loader and to the feeder, each with a queue of its own.
        passes = scheduler.passes
        ways = {}
        for name, user in (("to_loader", loader), ("to_feeder", feeder)):
            m.submodules[name] = ways[name] = Queue(
                shape=passes.payload.shape(), depth=4, registered=user is loader
            )
            m.d.comb += ways[name].i.payload.eq(passes.payload)
            connect_fields(m, ways[name].o, user.i)
        both = Signal()
        m.d.comb += [
            both.eq(ways["to_loader"].i.ready & ways["to_feeder"].i.ready),
            passes.ready.eq(both),
            ways["to_loader"].i.valid.eq(passes.valid & both),
            ways["to_feeder"].i.valid.eq(passes.valid & both),
        ]

        # The array and its operands
        connect_stream(m, wiring.flipped(self.i_key), loader.keys)
        connect_stream(m, wiring.flipped(self.i_value), loader.values)
        # A unit that takes its time for a tile needs no row in every cycle.
        mode = "half" if matrix.load_cycles >= 2 * size else "reverse"
        m.submodules.tile = tile = RegisterSlice(shape=matrix.tile.payload.shape(), mode=mode)
        connect_stream(m, loader.tile, tile.i)
        connect_stream(m, tile.o, matrix.tile)
        wiring.connect(m, feeder.queries, queries.r)
        wiring.connect(m, feeder.probabilities, probabilities.r)
        connect_stream(m, feeder.o, matrix.i)
        connect_stream(m, queries.loaded, feeder.loaded)
        m.d.comb += scores.i.valid.eq(matrix.o.valid)
        m.d.comb += scores.i.payload.eq(matrix.o.payload)

        # The row unit starts a step once its scores are complete.
        row_shape = row_unit.step.payload.shape()
        m.submodules.start = start = StepStart(
            shape=scheduler.steps.payload.shape() if single else row_shape,
            row_shape=row_shape,
            **single,
        )
        connect_fields(m, scheduler.steps, start.i)
        m.d.comb += start.complete.eq(scores.complete.valid)
        connect_stream(m, start.o, row_unit.step)
        connect_stream(m, row_unit.o_p, probabilities.w)
        connect_stream(m, row_unit.done, feeder.done)

        # The output of a query block follows its last pass; there is room for every slot's.
        m.submodules.finished = finished = Queue(shape=normalizer.i.payload.shape(), depth=slots)
        m.d.comb += [
            finished.i.valid.eq(outputs.complete.valid),
            finished.i.payload.eq(outputs.complete.payload),
        ]
        connect_stream(m, finished.o, normalizer.i)
        connect_stream(m, row_unit.o_sum, reciprocal.i)
        connect_stream(m, normalizer.read, outputs.read)
        connect_stream(m, outputs.data, normalizer.data)
        if self._gemm:
            self._multiply(m)
        else:
            m.d.comb += outputs.i.valid.eq(matrix.o.valid)
            m.d.comb += outputs.i.payload.eq(matrix.o.payload)
            wiring.connect(m, row_unit.r, scores.r)
            connect_stream(m, reciprocal.o, normalizer.recip)
            connect_stream(m, normalizer.done, queries.freed)
            connect_stream(m, normalizer.o, wiring.flipped(self.o))
        if self._index_tokens:
            self._watch(m)
        return m

    def _room_for_blocks(self) -> dict[str, Any]:
        """Return what the loader is told of blocks that it has room for."""
        if not self._kv_blocks:
            return {}
        strips = self._kv_blocks * -(-self._shape["block_rows"] // self._shape["size"])
        return {"strips": strips, "repeats": True}

    def _multiply(self, m: Module) -> None:
        """Put the deposit beside row unit and second product."""
        parts, numbers = m.submodules, self._numerics
        matrix, scores, row_unit = parts.matrix, parts.scores, parts.row_unit
        outputs, normalizer, queries = parts.outputs, parts.normalizer, parts.queries
        m.submodules.deposit = deposit = Deposit(
            **self._shape,
            tokens=self._tokens,
            digits=numbers.digits,
            row_width=self._row_width,
            exponent_width=numbers.exponent_width,
            runtime_precision=self._runtime_precision,
        )
        m.submodules.requantizer = requantizer = Requantizer(out_width=self._out_width)
        start = parts.start
        is_product = start.is_product
        connect_fields(m, start.sums, deposit.step)
        m.d.comb += [
            scores.r.en.eq(row_unit.r.en | deposit.en),
            scores.r.bank.eq(Mux(is_product, start.sums.payload.bank, row_unit.r.bank)),
            scores.r.address.eq(Mux(is_product, deposit.address, row_unit.r.address)),
            row_unit.r.data.eq(scores.r.data),
            outputs.i.valid.eq(deposit.place.valid | matrix.o.valid),
            outputs.alone.eq(deposit.place.valid),
        ]
        came, row = matrix.o.payload, outputs.i.payload.row
        m.d.comb += outputs.i.payload.tag.eq(came.tag)
        for column in range(self._shape["size"]):
            m.d.comb += row[column].eq(came.row[column])
        with m.If(deposit.place.valid):
            m.d.comb += [row.eq(scores.word), outputs.i.payload.tag.eq(deposit.place.payload)]

        # Factors, and who frees what
        factor, recip = deposit.factor, normalizer.recip
        m.d.comb += [
            recip.valid.eq(factor.valid | parts.reciprocal.o.valid),
            recip.payload.eq(parts.reciprocal.o.payload),
            deposit.done.valid.eq(normalizer.done.valid & is_product),
            deposit.done.payload.eq(normalizer.done.payload),
            queries.freed.valid.eq(normalizer.done.valid),
            queries.freed.payload.eq(normalizer.done.payload),
            requantizer.narrow.eq(is_product),
        ]
        with m.If(factor.valid):
            m.d.comb += recip.payload.eq(factor.payload)
        with m.If(is_product):
            m.d.comb += [
                queries.freed.valid.eq(deposit.unload.valid),
                queries.freed.payload.eq(deposit.unload.payload),
            ]
        connect_stream(m, deposit.drained, parts.feeder.drained)
        connect_stream(m, normalizer.o, requantizer.i)
        connect_stream(m, requantizer.o, wiring.flipped(self.o))

    def _watch(self, m: Module) -> None:
        """Let the index front end have what comes of jobs for scores only."""
        parts, numbers = m.submodules, self._numerics
        row_unit, start = parts.row_unit, parts.start
        m.submodules.masses = masses = BlockMasses(
            size=self._shape["size"],
            block=self._shape["block_rows"],
            tokens=self._index_tokens,
            row_width=self._row_width,
            slots=self._shape["slots"],
            head_dim=self._shape["head_dim"],
            lane_tokens=self._tokens,
            p_width=numbers.p_width,
            segments=numbers.segments,
            fraction=numbers.fraction,
            stream_width=numbers.stream_width,
            stationary_width=numbers.stationary_width,
            memory=self._index_memory,
        )
        step = row_unit.step
        m.d.comb += [
            step.valid.eq(start.o.valid & masses.may_start),
            start.o.ready.eq(step.ready & masses.may_start),
        ]
        for port, source in (
            (masses.weights, row_unit.weights),
            (masses.scores, row_unit.scores),
            (masses.reciprocals, parts.reciprocal.o),
        ):
            m.d.comb += port.payload.eq(source.payload)
        chunk = row_unit.weights.payload
        with m.If(start.is_scores_only):
            m.d.comb += [
                masses.step.eq(step.valid & step.ready),
                masses.weights.valid.eq(row_unit.weights.valid),
                masses.scores.valid.eq(row_unit.scores.valid),
                masses.reciprocals.valid.eq(parts.reciprocal.o.valid),
                parts.feeder.done.valid.eq(0),
                parts.normalizer.recip.valid.eq(0),
                parts.feeder.drained.valid.eq(row_unit.released.valid),
                parts.feeder.drained.payload.eq(row_unit.released.payload),
                parts.queries.freed.valid.eq(
                    row_unit.weights.valid & chunk.step_end & chunk.place.last
                ),
                parts.queries.freed.payload.slot.eq(chunk.place.slot),
            ]
        m.d.comb += masses.last_step.eq(step.payload.last)
        connect_stream(m, masses.o, wiring.flipped(self.o_mass))
