"""The core: lanes side by side, fed by shared streams."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .component import Component
from .lane.far import FarLane
from .lane.lane import Lane, lane_kind, lane_payloads
from .stream import Gather, Multicast, Queue, Scatter, connect_fields, connect_stream
from .stream.crossing import LineReceiver, LineSender
from .stream.turns import Turns

__all__ = ["Core"]

_JOBS = 4
"""Jobs that wait at a lane, so that a busy lane does not keep others from theirs; where there is
room for KV blocks, as many as a block can have for each of them."""


class Core(Component):
    """Lanes that share their streams: keys and values are sent once, to every lane that needs them.

    ::

        i_job, i_query --> to one lane   --+--> lane 0 --+
        i_key, i_value --> to many lanes --+--> lane 1 --+--> o, tagged with the lane
                                           +--> ...    --+

    Parameters
    ----------
    lanes : tuple of str
        What multiplies in each lane, and behind it what its outputs are summed up in and whether it
        has runtime precision: ``"dsp"``, ``"dsp+ultra"``, ``"lut+serial"``. The other parameters
        are those of :class:`~qkloom.rtl.lane.lane.Lane`, the same for all lanes.
    index_tokens, index_memory
        As of a lane; lanes that have it say where the last queries of heads attend.
    kv_blocks : int
        As of a lane; with room for a few blocks, lanes that need different ones do not wait for
        each other.
    crossings : bool
        Whether lanes may be on other dies than what feeds them: their streams have a register at
        either end, and take four cycles more.

    Members
    -------
    i_job, i_query : In(stream)
        ``to``: the number of a lane, ``item``: a job, a query row.
        With ``gemm``, ``to`` of a query row is a bit per lane.
    i_key, i_value : In(stream)
        ``to``: a bit per lane, ``item``: a row. It is taken when every lane that it is for has
        taken it.
    o : Out(stream)
        ``index``: the number of the lane, ``item``: an output row. Rows of one lane stay in order.
    o_mass : Out(stream)
        With ``index_tokens``, what the lanes say, head by head: in the order of the heads' first
        jobs. A head's masses wait in a queue of its lane, which scores its next head meanwhile.
    n_lanes : int
        Number of lanes.
    lane_parameters : mapping
        Parameters of each lane, except for those that may differ from lane to lane.

    As long as all inputs list their contents in one order of rounds of query blocks and of KV tiles
    within a round, lanes cannot wait for each other in a circle.

    Raises
    ------
    TypeError, ValueError
        When there is no lane, or a parameter does not suit a lane.
    """

    def __init__(
        self,
        *,
        lanes: tuple[str, ...],
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        row_width: int,
        out_width: int,
        slots: int = 2,
        stream_width: int = 8,
        stationary_width: int = 8,
        gemm: bool = False,
        index_tokens: int = 0,
        index_memory: str = "auto",
        kv_blocks: int = 0,
        crossings: bool = False,
    ) -> None:
        if not lanes:
            raise ValueError(f"Lanes must be one or more, not {lanes!r}")
        self._lanes = lanes
        self._crossings = crossings
        outer = ("lanes", "crossings")
        self._lane = {name: self.parameters[name] for name in self.parameters if name not in outer}
        for kind in lanes:
            shapes = lane_payloads(**lane_kind(kind), **self._lane)
            if kind == lanes[0] or lane_kind(kind)["runtime_precision"]:
                self._shapes = shapes  # jobs have all fields that any lane asks for
        if block_rows % size:
            # A KV tile is sent once to all lanes: it must be the same tile for every block.
            raise ValueError(f"Block rows must be a multiple of size {size}, not {block_rows}")
        self._blocks = -(-index_tokens // block_rows)  # most of a head
        n = len(lanes)
        members = {}
        # Activations are sent once, too, to all lanes that need them.
        self._query_way: type[Scatter] | type[Multicast] = Multicast if gemm else Scatter
        queries = n if gemm else range(n)
        for name, to in (("i_job", range(n)), ("i_query", queries), ("i_key", n), ("i_value", n)):
            addressed = data.StructLayout({"to": to, "item": self._shapes[name]})
            members[name] = In(stream.Signature(addressed))
        tagged = data.StructLayout({"index": range(n), "item": self._shapes["o"]})
        members["o"] = Out(stream.Signature(tagged))
        if index_tokens:
            members["o_mass"] = Out(stream.Signature(self._shapes["o_mass"]))
        super().__init__(members)

    @property
    def n_lanes(self) -> int:
        """Number of lanes."""
        return len(self._lanes)

    @property
    def lane_parameters(self) -> Mapping[str, Any]:
        """Parameters of each lane, except for those that may differ from lane to lane."""
        return MappingProxyType(self._lane)

    def elaborate(self, platform: object) -> Module:
        """Build the lanes, and the parts that share the streams among them."""
        m = Module()
        n, shapes = len(self._lanes), self._shapes
        m.submodules.jobs = jobs = Scatter(shape=shapes["i_job"], n=n)
        m.submodules.queries = queries = self._query_way(shape=shapes["i_query"], n=n)
        m.submodules.keys = keys = Multicast(shape=shapes["i_key"], n=n)
        m.submodules.values = values = Multicast(shape=shapes["i_value"], n=n)
        m.submodules.merge = merge = Gather(shape=shapes["o"], n=n)
        for port, part in (
            (self.i_query, queries),
            (self.i_key, keys),
            (self.i_value, values),
        ):
            connect_stream(m, wiring.flipped(port), part.i)
        connect_stream(m, merge.o, wiring.flipped(self.o))
        if self._lane["index_tokens"]:
            self._add_turns(m)
        else:
            connect_stream(m, wiring.flipped(self.i_job), jobs.i)

        depth = max(_JOBS, self._lane["kv_blocks"] * self._lane["slots"])
        for number, kind in enumerate(self._lanes):
            lane = self._add_lane(m, number, kind)
            m.submodules[f"jobs_{number}"] = waiting = Queue(
                shape=shapes["i_job"],
                depth=depth,
            )
            connect_stream(m, jobs.o[number], waiting.i)
            connect_fields(m, waiting.o, lane["i_job"])
            connect_stream(m, queries.o[number], lane["i_query"])
            connect_stream(m, keys.o[number], lane["i_key"])
            connect_stream(m, values.o[number], lane["i_value"])
            connect_stream(m, lane["o"], merge.i[number])
            if "o_mass" in lane:
                m.submodules[f"masses_{number}"] = masses = Queue(
                    shape=shapes["o_mass"], depth=self._blocks, registered=True
                )
                connect_stream(m, lane["o_mass"], masses.i)
                connect_stream(m, masses.o, m.submodules.turns.i[number])
        return m

    def _add_turns(self, m: Module) -> None:
        """Let masses leave head by head, in the order in which the heads' first jobs came."""
        n = len(self._lanes)
        m.submodules.turns = turns = Turns(shape=self._shapes["o_mass"], n=n, depth=2 * _JOBS * n)
        connect_stream(m, turns.o, wiring.flipped(self.o_mass))
        job, jobs = self.i_job.payload, m.submodules.jobs.i
        tells, may = Signal(), Signal()
        m.d.comb += [
            tells.eq(job.item.scores_only & job.item.first),
            may.eq(~tells | turns.turn.ready),
            jobs.payload.eq(job),
            jobs.valid.eq(self.i_job.valid & may),
            self.i_job.ready.eq(jobs.ready & may),
            turns.turn.payload.eq(job.to),
            turns.turn.valid.eq(self.i_job.valid & jobs.ready & tells),
        ]

    def _add_lane(self, m: Module, number: int, kind: str) -> dict[str, Any]:
        """Build a lane, and the near ends of its lines if there are any; return its streams."""
        parameters = {**lane_kind(kind), **self._lane}
        shapes = lane_payloads(**parameters)
        if not self._crossings:
            m.submodules[f"lane_{number}"] = lane = Lane(**parameters)
            return {name: getattr(lane, name) for name in shapes}
        m.submodules[f"lane_{number}"] = far = FarLane(**parameters)
        streams = {}
        for name, shape in shapes.items():
            near: LineSender | LineReceiver
            if not name.startswith("i_"):
                near = LineReceiver(shape=shape)
                wiring.connect(m, getattr(far, name), near.line)
                streams[name] = near.o
            else:
                near = LineSender(shape=shape)
                wiring.connect(m, near.line, getattr(far, name))
                streams[name] = near.i
            m.submodules[f"{name}_{number}"] = near
        return streams
