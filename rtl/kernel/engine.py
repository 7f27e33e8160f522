"""The engine: a core with everything that feeds it from memory and takes from it."""

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from types import MappingProxyType
from typing import Any, ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Read, AXI4Write, ReadManager, ReadShare, WriteShare
from ..cache.visit import EVENTS
from ..check import check_count
from ..component import Component
from ..core import Core
from ..formats import ceil_log2
from ..mover import Fetcher, OutputMover
from ..sequencer.call import SELECTION_WIDTH, call_layout, row_words
from ..sequencer.sequencer import OUTPUT_WIDTH, Sequencer, task_layout
from ..stream import connect_stream
from .cache import CacheUnit
from .index import IndexUnit

__all__ = ["TENSORS", "Engine", "check_channels"]

_BLOCKS_WIDTH = 16
"""Bits of a number of query blocks that are on their way: a few per lane and channel."""

TENSORS = ("q", "k", "v", "o")
"""Queries, keys, values, outputs: what a call has in memory."""


class Engine(Component):
    """Compute calls whose tensors are in memory.

    ::

                     +--> q, k, v: fetchers --+
        i --> sequencer --> jobs -------------+--> core --> output mover
                     +--> tables    ^                            |
                            |       |                            |
                         channels: memory <----------------------+

    In an index call keys go to the index unit too, which asks for queries, and writes selections.

    With a cache, keys and values of calls with a selection pass through it::

        sequencer --> uses, visits, tiles --> cache <-- k, v: fetchers
                 <--------- requests ----------+  +---> core

    Parameters
    ----------
    lanes : tuple of str
        What a core calls each of its lanes. Other parameters of lanes are those of
        :class:`~qkloom.rtl.core.Core`.
    heads : int
        Most query heads of a call.
    channels : tuple of (str, tuple of int)
        Memory channels of ``"q"``, ``"k"``, ``"v"`` and ``"o"``: numbers from 0 on, a power of two
        of them each. Tables of score factors and of blocks, and the selection, are on the first
        channel of ``"q"``.
    data_width, address_width : int
        Bits of a beat and of an address.
    gemm : bool
        Whether a call may be a product of matrices.
    sparse : bool
        Whether a call may have a selection.
    index_tokens : int
        Longest sequence of an index call, which writes a selection; 0 if there is none.
    key_heads : int
        Most KV heads of which an index call averages keys at a time.
    heads_ahead : int
        How many heads of a round of an index call have all their queries read before it is known
        whether they are query-aware.
    index_memory : str
        What an index call's tables are kept in: ``"auto"``, what synthesis finds best; ``"ultra"``,
        UltraRAM.
    kv_blocks : int
        As of a lane; 0 if there is no cache.
    cache : tuple of (str, int or str)
        ``per_lane`` and what a :class:`~qkloom.rtl.kernel.cache.CacheUnit` decides by; empty if
        there is none.
    crossings : bool
        Whether lanes may be on other dies than the rest.

    Members
    -------
    i : In(stream)
        Calls: :func:`~qkloom.rtl.sequencer.sequencer.task_layout`. Taken when all outputs are in
        memory.
    read, write : n_channels buses, out
        To memory, as far as a channel is read or written.
    halt : In(1)
        Ask memory for nothing more.
    idle : Out(1)
        Nothing is on its way from or to memory.
    failed : Out(2)
        OR of all responses that were no OKAY.
    moved : Out(struct)
        Of ``q``, ``k`` and ``v`` how many beats came in the cycle before, of ``o`` how many words
        of 32 bits went.
    starved : Out(struct)
        In the cycle before, a bit for each of ``q``, ``k``, ``v``: a lane had room for it, and
        memory had been asked and had brought nothing; and for ``o``: the core had outputs that
        were not taken.
    moves : Out(1)
        Something else gets on: the index unit, which may compute for long, or a cache that has all.
    changed : Out(1)
        With a cache: a call's selection was another one when it was read again.
    events : Out
        With a cache, what became of a visit: :data:`~qkloom.rtl.cache.visit.EVENTS`.
    n_channels : int
        Number of channels.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

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
        heads: int,
        channels: tuple[tuple[str, tuple[int, ...]], ...],
        data_width: int,
        address_width: int = 64,
        gemm: bool = False,
        sparse: bool = False,
        index_tokens: int = 0,
        key_heads: int = 1,
        heads_ahead: int = 0,
        index_memory: str = "auto",
        kv_blocks: int = 0,
        cache: tuple[tuple[str, int | str], ...] = (),
        crossings: bool = False,
    ) -> None:
        if bool(kv_blocks) != bool(cache):
            raise ValueError(
                f"Room for KV blocks in lanes and a cache go together, not {kv_blocks} and {cache}"
            )
        of_cache: dict[str, Any] = dict(cache)
        outer = ("heads", "channels", "data_width", "address_width", "sparse", "cache")
        of_index = ("key_heads", "heads_ahead")
        self._core = {k: v for k, v in self.parameters.items() if k not in outer + of_index}
        self._channels = check_channels(channels)
        counts = tuple((name, len(numbers)) for name, numbers in channels)
        self._bus = {"data_width": data_width, "address_width": address_width}
        n_lanes = len(lanes)
        self._sequencer: dict[str, Any] = dict(
            n_lanes=n_lanes,
            slots=slots,
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            block=block_rows,
            channels=counts,
            stream_width=stream_width,
            stationary_width=stationary_width,
            runtime_precision=any("serial" in kind for kind in lanes),
            gemm=gemm,
            sparse=sparse,
            index_tokens=index_tokens,
            key_heads=key_heads,
            heads_ahead=heads_ahead,
            **{name: of_cache[name] for name in ("per_lane", "lookahead") if cache},
            **self._bus,
        )
        self._cache: dict[str, Any] = {}
        if cache:
            self._cache = dict(
                **of_cache,
                n_lanes=n_lanes,
                size=size,
                block=block_rows,
                head_dim=head_dim,
                element_width=stationary_width,
                heads=heads,
                tokens=tokens,
            )
        self._index: dict[str, Any] = {}
        if index_tokens:
            if stream_width != stationary_width:
                raise ValueError(
                    "Index calls take queries where values are: widths must be equal, not "
                    f"{stream_width} and {stationary_width}"
                )
            words = row_words(tokens=tokens, block=block_rows, data_width=data_width)
            self._index = dict(
                n_lanes=n_lanes,
                size=size,
                head_dim=head_dim,
                block=block_rows,
                tokens=index_tokens,
                lane_tokens=tokens,
                p_width=p_width,
                segments=segments,
                fraction=fraction,
                heads=heads,
                key_heads=key_heads,
                heads_ahead=heads_ahead,
                memory=index_memory,
                row_bytes=words * SELECTION_WIDTH // 8,
                stream_width=stream_width,
                stationary_width=stationary_width,
                **self._bus,
            )
        row: dict[str, Any] = dict(size=size, head_dim=head_dim, **self._bus)
        tile = {
            **row,
            "to": n_lanes,
            "element_width": stationary_width,
            "tokens": size,
            "fills": True,
        }
        of_queries = {
            **row,
            "to": n_lanes if gemm else range(n_lanes),  # activations of a product are multicast
            "element_width": stream_width,
            "tokens": block_rows,
            "fills": False,
        }
        n = dict(counts)
        self._fetchers: dict[str, dict[str, Any]] = {
            "q": {**of_queries, "n_channels": n["q"]},
            "k": {**tile, "n_channels": n["k"]},
            "v": {**tile, "n_channels": n["v"]},
        }
        of_selection = (("selection",) if sparse else ()) + (("scout",) if cache else ())
        self._tables = ("factor", "table", *of_selection)
        self._readers = _readers(self._channels, self._tables)
        self._writers = self._channels["o"]
        self._who_writes = {number: [f"o_{k}"] for k, number in enumerate(self._writers)}
        if index_tokens:  # where the selection is read from, it is written to
            self._who_writes.setdefault(self._channels["q"][0], []).append("selection")
        self._words = data_width // OUTPUT_WIDTH
        call = call_layout(
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            gemm=gemm,
            selects=index_tokens > 0,
        )
        task = task_layout(
            call=call,
            channels=counts,
            address_width=address_width,
            sparse=sparse,
            index_blocks=-(-index_tokens // block_rows),
        )
        moved = {name: range(number + 1) for name, number in counts if name != "o"}
        moved["o"] = range(self._words * len(self._writers) + 1)
        members: dict[str, Any] = {
            "i": In(stream.Signature(task)),
            "halt": In(1),
            "idle": Out(1),
            "failed": Out(2),
            "moved": Out(data.StructLayout(moved)),
            "starved": Out(data.StructLayout(dict.fromkeys(TENSORS, 1))),
            "moves": Out(1),
            **({"changed": Out(1), "events": Out(EVENTS)} if cache else {}),
        }
        for number, names in self._readers.items():
            id_width = max(ceil_log2(len(names)), 1)
            members[f"read_{number}"] = Out(AXI4Read(**self._bus, id_width=id_width))
        for number, names in self._who_writes.items():
            tells_apart = {"id_width": 1} if len(names) > 1 else {}
            members[f"write_{number}"] = Out(AXI4Write(**self._bus, **tells_apart))
        super().__init__(members)

    @property
    def channels(self) -> Mapping[str, tuple[int, ...]]:
        """Memory channels of each tensor."""
        return MappingProxyType(self._channels)

    @property
    def n_channels(self) -> int:
        """Number of memory channels."""
        return 1 + max(number for numbers in self._channels.values() for number in numbers)

    def elaborate(self, platform: object) -> Module:
        """Connect sequencer, movers and core, and the movers to their channels."""
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(**self._sequencer)
        m.submodules.core = core = Core(**self._core)
        item = core.o.payload.shape()["item"].shape
        m.submodules.o = output = OutputMover(
            item=item,
            n_lanes=core.n_lanes,
            n_channels=len(self._writers),
            element_width=OUTPUT_WIDTH,
            **self._bus,
        )
        task = self.i.payload
        buses: dict[str, Any] = {}
        idle, failed = [output.idle], [output.failed]
        unit = self._add_index(m, sequencer, core) if self._index else None
        if unit is not None:
            idle.append(unit.idle)
            failed.append(unit.failed)
        cache = self._add_cache(m, sequencer) if self._cache else None
        moves = [part.moves for part in (unit, cache) if part is not None]
        m.d.comb += self.moves.eq(Cat(moves).any())
        connect_stream(m, sequencer.jobs, core.i_job)
        for name, port in (("q", core.i_query), ("k", core.i_key), ("v", core.i_value)):
            m.submodules[name] = fetcher = Fetcher(**self._fetchers[name])
            m.d.comb += [fetcher.d_tiles.eq(task.call.d_tiles), fetcher.halt.eq(self.halt)]
            connect_stream(m, getattr(sequencer, name), fetcher.i)
            self._connect_rows(m, name, fetcher, port, unit, cache)
            if name == "v" and self._core["gemm"]:  # a product has none
                with m.If(task.call.gemm):
                    m.d.sync += self.starved.v.eq(0)
            for k in range(len(self._channels[name])):
                buses[f"{name}_{k}"] = fetcher.bus[k]
            m.d.sync += self.moved[name].eq(sum(bus.r.valid & bus.r.ready for bus in fetcher.bus))
            idle.append(fetcher.idle)
            failed.append(fetcher.failed)
        for name in self._tables:
            m.submodules[f"{name}_reader"] = reader = ReadManager(
                longest=1, burst=1, ahead=4, outstanding=4, **self._bus
            )
            connect_stream(m, getattr(sequencer, f"{name}_command"), reader.i)
            connect_stream(m, reader.o, getattr(sequencer, f"{name}_beat"))
            m.d.comb += reader.halt.eq(self.halt)
            buses[name] = reader.bus
            idle.append(reader.idle)
            failed.append(Value.cast(reader.failed))

        connect_stream(m, core.o, output.i)
        place = sequencer.o.payload
        m.d.comb += [
            output.places.payload.to.eq(place.to),
            output.places.payload.item.channel.eq(place.channel),
            output.places.payload.item.addr.eq(place.addr),
            output.places.valid.eq(sequencer.o.valid),
            sequencer.o.ready.eq(output.places.ready),
            output.halt.eq(self.halt),
        ]
        m.d.sync += self.starved.o.eq(core.o.valid & ~core.o.ready)
        for number, names in self._readers.items():
            m.submodules[f"share_{number}"] = share = ReadShare(n=len(names), **self._bus)
            for k, name in enumerate(names):
                wiring.connect(m, buses[name], share.manager[k])
            wiring.connect(m, share.bus, wiring.flipped(getattr(self, f"read_{number}")))
        total: Any = 0
        for k in range(len(self._writers)):
            bus = output.bus[k]
            buses[f"o_{k}"] = bus
            n_words = Signal(range(self._words + 1), name=f"words_{k}", reset_less=True)
            written = Mux(bus.w.valid & bus.w.ready, bus.w.payload.strb, 0)
            m.d.sync += n_words.eq(sum(written[4 * word] for word in range(self._words)))
            total += n_words
        m.d.comb += self.moved.o.eq(total)
        if unit is not None:
            buses["selection"] = unit.bus
        for number, names in self._who_writes.items():
            port = wiring.flipped(getattr(self, f"write_{number}"))
            if len(names) == 1:
                wiring.connect(m, buses[names[0]], port)
                continue
            m.submodules[f"write_share_{number}"] = write = WriteShare(n=len(names), **self._bus)
            for k, name in enumerate(names):
                wiring.connect(m, buses[name], write.manager[k])
            wiring.connect(m, write.bus, port)
        m.d.comb += [self.idle.eq(reduce(and_, idle)), self.failed.eq(reduce(or_, failed))]
        self._end_calls(m, sequencer, output, unit)
        return m

    def _add_index(self, m: Module, sequencer: Sequencer, core: Core) -> IndexUnit:
        """Build the index unit, and tell it of calls."""
        m.submodules.index = unit = IndexUnit(**self._index)
        task, call = self.i.payload, unit.call.payload
        told = Signal()
        connect_stream(m, sequencer.asks, unit.ask)
        connect_stream(m, core.o_mass, unit.i_mass)
        aware = sequencer.aware.payload
        m.d.comb += [
            aware.blocks.eq(unit.aware.payload.blocks),
            aware.is_aware.eq(unit.aware.payload.is_aware),
            sequencer.aware.valid.eq(unit.aware.valid),
            unit.aware.ready.eq(sequencer.aware.ready),
            unit.call.valid.eq(self.i.valid & task.call.selects & ~told),
            call.tokens.eq(task.call.n_kv),
            *(call[name].eq(task[name]) for name in ("heads", "rule", "selection", "verdicts")),
            unit.halt.eq(self.halt),
        ]
        with m.If(unit.call.valid & unit.call.ready):
            m.d.sync += told.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += told.eq(0)
        return unit

    def _add_cache(self, m: Module, sequencer: Sequencer) -> CacheUnit:
        """Build the cache of KV blocks; the sequencer tells it what is to come."""
        m.submodules.cache = cache = CacheUnit(**self._cache)
        for name in ("uses", "visits", "cached"):
            connect_stream(m, getattr(sequencer, name), getattr(cache, name))
        connect_stream(m, cache.requests, sequencer.requests)
        call = self.i.payload.call
        m.d.comb += [
            cache.d_tiles.eq(call.d_tiles),
            cache.kv_heads.eq(call.kv_heads),
            cache.q_blocks.eq(sequencer.q_blocks),
            cache.forget.eq(sequencer.i.valid & sequencer.i.ready),
            sequencer.served.eq(cache.served),
            self.changed.eq(cache.changed),
            self.events.eq(cache.events),
        ]
        return cache

    def _connect_rows(
        self,
        m: Module,
        name: str,
        fetcher: Fetcher,
        port: Any,
        unit: IndexUnit | None,
        cache: CacheUnit | None,
    ) -> None:
        """Let rows of a tensor go to the core, or in some calls elsewhere."""
        row, rows = port.payload.item, fetcher.o.payload
        m.d.comb += [
            port.payload.to.eq(rows.to),
            (row if name == "q" else row.row).eq(rows.item.row),
        ]
        if name != "q":
            m.d.comb += row.last.eq(rows.item.last)
        if unit is None or name == "q":
            m.d.comb += [port.valid.eq(fetcher.o.valid), fetcher.o.ready.eq(port.ready)]
        else:
            self._share_rows(m, name, fetcher.o, port, unit)
        if cache is not None and name != "q":
            self._cache_rows(m, name, fetcher.o, port, cache)
        m.d.sync += self.starved[name].eq(
            port.ready & ~port.valid & ~fetcher.o.valid & ~fetcher.idle
        )

    def _cache_rows(self, m: Module, name: str, rows: Any, port: Any, cache: CacheUnit) -> None:
        """In a call with a selection, let keys or values fill the cache, and come from there."""
        fills, serves = {"k": (cache.i_key, cache.o_key), "v": (cache.i_value, cache.o_value)}[name]
        m.d.comb += fills.payload.eq(rows.payload.item.row)
        with m.If(self.i.payload.sparse):
            m.d.comb += [
                fills.valid.eq(rows.valid),
                rows.ready.eq(fills.ready),
                port.payload.to.eq(serves.payload.to),
                port.payload.item.row.eq(serves.payload.item.row),
                port.payload.item.last.eq(serves.payload.item.last),
                port.valid.eq(serves.valid),
                serves.ready.eq(port.ready),
            ]

    def _share_rows(self, m: Module, name: str, rows: Any, port: Any, unit: IndexUnit) -> None:
        """In an index call, show the unit the keys, and give it queries instead of values."""
        selects = self.i.payload.call.selects
        if name == "v":
            connect = [
                unit.i_query.payload.eq(rows.payload.item),
                unit.i_query.valid.eq(rows.valid & selects),
                port.valid.eq(rows.valid & ~selects),
                rows.ready.eq(Mux(selects, unit.i_query.ready, port.ready)),
            ]
        else:
            has_room = Signal()
            connect = [
                has_room.eq(unit.i_key.ready | ~selects),
                unit.i_key.payload.to.eq(rows.payload.to),
                unit.i_key.payload.item.eq(rows.payload.item),
                unit.i_key.valid.eq(rows.valid & port.ready & selects),
                port.valid.eq(rows.valid & has_room),
                rows.ready.eq(port.ready & has_room),
            ]
        m.d.comb += connect

    def _end_calls(
        self, m: Module, sequencer: Sequencer, output: OutputMover, unit: IndexUnit | None
    ) -> None:
        """Take a call when as many query blocks, or heads, are written as were asked to be."""
        n_blocks = Signal(_BLOCKS_WIDTH)  # on their way
        begun = Signal()
        ended = Signal(range(len(self._writers) + 1))
        asked = Signal()
        counted = Signal()  # all of them
        is_done = Signal()
        m.d.comb += [
            sequencer.i.payload.eq(self.i.payload),
            sequencer.i.valid.eq(self.i.valid & ~asked),
            self.i.ready.eq(is_done),
        ]
        m.d.sync += [
            begun.eq(output.places.valid & output.places.ready),
            ended.eq(sum(output.written[k] for k in range(len(self._writers)))),
            n_blocks.eq(n_blocks + begun - ended),
            counted.eq(asked & ~is_done),
            is_done.eq(counted & (n_blocks == 0) & ~is_done),
        ]
        if unit is not None:
            with m.If(unit.call.valid & unit.call.ready):
                m.d.sync += n_blocks.eq(self.i.payload.heads)
            with m.Elif(self.i.payload.call.selects):
                m.d.sync += n_blocks.eq(n_blocks - unit.written)
        with m.If(sequencer.i.valid & sequencer.i.ready):
            m.d.sync += asked.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += asked.eq(0)


def check_channels(channels: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, tuple[int, ...]]:
    """Return the channels of each tensor, if they suit.

    Raises
    ------
    ValueError
        When a tensor is missing, or has no channel, one twice, or no power of two of them.
    """
    found = dict(channels)
    if tuple(found) != TENSORS:
        raise ValueError(f"Channels must be of q, k, v and o, in this order, not {tuple(found)}")
    for name, numbers in channels:
        check_count(f"Number of channels of {name}", len(numbers))
        if len(numbers) & len(numbers) - 1:
            raise ValueError(
                f"Number of channels of {name} must be a power of two, not {len(numbers)}"
            )
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise ValueError(f"Channels of {name} must differ, and start from 0, not {numbers}")
    return found


def _readers(
    channels: Mapping[str, tuple[int, ...]], tables: tuple[str, ...]
) -> dict[int, list[str]]:
    """Return who reads from each channel: channels of tensors, and the tables."""
    readers: dict[int, list[str]] = {}
    for name in ("q", "k", "v"):
        for k, number in enumerate(channels[name]):
            readers.setdefault(number, []).append(f"{name}_{k}")
    readers[channels["q"][0]] += tables
    return dict(sorted(readers.items()))
