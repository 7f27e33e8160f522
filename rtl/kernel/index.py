"""The index unit of a kernel: from keys, queries and masses to selections in memory."""

from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Write
from ..component import Component, pass_over
from ..formats import Integer
from ..index.coverage import CoverageUnit
from ..index.record import HeadRecord
from ..index.rule import ask_layout, aware_layout, rule_layout
from ..mover.selection import SelectionMover
from ..stream import Queue, connect_stream

__all__ = ["IndexUnit"]

_KEYS = 4
"""Rows of keys that wait: what takes them need not see who sends them."""


class IndexUnit(Component):
    """Select KV blocks as a core scores the last queries, and write what is selected to memory.

    ::

        i_key -> queue --+
        i_query ---------+--> coverage unit --+--> masks ----------> mover --> bus
        ask, i_mass -----+                    +--> verdict, result --> record --^
                                                        |
                                                        +--> aware

    Parameters
    ----------
    n_lanes : int
        Lanes of the core.
    size, head_dim, p_width, segments, fraction, stream_width, stationary_width
        As of a lane.
    lane_tokens, tokens : int
        Longest sequence of the lanes; longest one that is selected from.
    block : int
        Tokens of a block.
    heads, key_heads : int
        Most heads of a call; most KV heads of a round.
    heads_ahead : int
        As of :class:`~qkloom.rtl.index.coverage.CoverageUnit`.
    row_bytes : int
        How far rows of a selection are apart in memory.
    data_width, address_width : int
        Bits of a beat and of an address.
    memory : str
        As of :class:`~qkloom.rtl.index.coverage.CoverageUnit`.

    Members
    -------
    call : In(stream)
        What holds for all heads: ``heads``, ``tokens``, ``rule``
        (:func:`~qkloom.rtl.index.rule.rule_layout`), and where ``selection`` and ``verdicts`` go.
    ask : In(stream)
        :func:`~qkloom.rtl.index.rule.ask_layout`, heads in their order.
    i_mass : In(stream)
        From the core.
    i_key : In(stream)
        ``to``: lanes, ``item``: rows on their way to the core. ``ready`` stays until one is taken.
    i_query : In(stream)
        Rows of all queries of ``heads_ahead`` and of query-aware heads, in whole tiles.
    aware : Out(stream)
        :func:`~qkloom.rtl.index.rule.aware_layout` of each head.
    bus : Out(AXI4Write)
        To memory.
    moves : Out(1)
        It gets on without its surroundings: pairs of blocks are compared, or rows come.
    written, halt, idle, failed
        As of :class:`~qkloom.rtl.mover.selection.SelectionMover`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        n_lanes: int,
        size: int,
        head_dim: int,
        block: int,
        tokens: int,
        lane_tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        heads: int,
        key_heads: int,
        row_bytes: int,
        data_width: int,
        address_width: int = 64,
        stream_width: int = 8,
        stationary_width: int = 8,
        heads_ahead: int = 0,
        memory: str = "auto",
    ) -> None:
        outer = ("n_lanes", "row_bytes", "data_width", "address_width")
        self._coverage: dict[str, Any] = {
            **{k: v for k, v in self.parameters.items() if k not in outer},
            "dot_width": head_dim,
            "lists": False,  # rows in memory say the same
        }
        pass_over(unit := CoverageUnit(**self._coverage))
        self._blocks = blocks = unit.numerics.blocks
        bus = {"data_width": data_width, "address_width": address_width}
        self._mover: dict[str, Any] = dict(row_bytes=row_bytes, blocks=blocks, **bus)
        call = data.StructLayout(
            {
                "heads": range(heads + 1),
                "tokens": range(tokens + 1),
                "rule": rule_layout(blocks),
                "selection": address_width,
                "verdicts": address_width,
            }
        )
        row = data.StructLayout(
            {"row": data.ArrayLayout(Integer(stationary_width), size), "last": 1}
        )
        keys = data.StructLayout({"to": n_lanes, "item": row})
        super().__init__(
            {
                "call": In(stream.Signature(call)),
                "ask": In(stream.Signature(ask_layout(key_heads))),
                "i_mass": In(stream.Signature(unit.i_mass.payload.shape())),
                "i_key": In(stream.Signature(keys)),
                "i_query": In(stream.Signature(row)),
                "aware": Out(stream.Signature(aware_layout(blocks))),
                "bus": Out(AXI4Write(**bus)),
                "moves": Out(1),
                "written": Out(1),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; keys get the number of their KV head."""
        m = Module()
        m.submodules.coverage = coverage = CoverageUnit(**self._coverage)
        result = coverage.o_result.payload.shape()
        m.submodules.record = record = HeadRecord(
            blocks=self._blocks,
            count_width=len(coverage.o_result.payload["count"]),
            total_width=len(coverage.o_result.payload.total),
        )
        assert result == record.result.payload.shape()
        m.submodules.mover = mover = SelectionMover(**self._mover)
        connect_stream(m, wiring.flipped(self.ask), coverage.ask)
        connect_stream(m, wiring.flipped(self.i_mass), coverage.i_mass)
        connect_stream(m, wiring.flipped(self.i_query), coverage.i_query)
        connect_stream(m, coverage.o_verdict, record.verdict)
        connect_stream(m, coverage.o_result, record.result)
        connect_stream(m, record.aware, wiring.flipped(self.aware))
        connect_stream(m, coverage.masks, mover.masks)
        connect_stream(m, record.o, mover.record)
        wiring.connect(m, mover.bus, wiring.flipped(self.bus))
        self._number_keys(m, coverage)

        call = self.call.payload
        begins = Signal()
        asked = coverage.call.payload
        m.d.comb += [
            begins.eq(self.call.valid & self.call.ready),
            coverage.call.valid.eq(self.call.valid),
            self.call.ready.eq(coverage.call.ready),
            asked.heads.eq(call.heads),
            asked.tokens.eq(call.tokens),
            *(asked[name].eq(call.rule[name]) for name in call.rule.shape().members),
            mover.begins.eq(begins),
            mover.selection.eq(call.selection),
            mover.verdicts.eq(call.verdicts),
            mover.halt.eq(self.halt),
            self.written.eq(mover.written),
            self.idle.eq(mover.idle),
            self.failed.eq(mover.failed),
        ]
        m.d.sync += self.moves.eq(coverage.busy | (mover.masks.valid & mover.masks.ready))
        with m.If(record.aware.valid):
            m.d.sync += mover.rows.eq(record.aware.payload.blocks)
        return m

    def _number_keys(self, m: Module, coverage: CoverageUnit) -> None:
        """Tell KV heads of a round apart by the lanes that their rows are for.

        Tile by tile they take turns, the one of lane 0 first.
        """
        m.submodules.keys = keys = Queue(shape=coverage.i_key.payload.shape(), depth=_KEYS)
        connect_stream(m, keys.o, coverage.i_key)
        given, row = self.i_key.payload, keys.i.payload
        number = Signal.like(row.key_head)
        before = Signal.like(number)
        lanes = Signal.like(given.to)  # of the row before
        m.d.comb += [
            number.eq(Mux(given.to[0], 0, before + (lanes != given.to))),
            row.row.eq(given.item.row),
            row.last.eq(given.item.last),
            row.key_head.eq(number),
            keys.i.valid.eq(self.i_key.valid),
            self.i_key.ready.eq(keys.i.ready),
        ]
        with m.If(self.i_key.valid & self.i_key.ready):
            m.d.sync += [before.eq(number), lanes.eq(given.to)]
