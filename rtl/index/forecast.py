"""The Forecast unit: a vector of the layer before chooses the blocks to attend to."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import I8
from ..stream import Fork, Queue, WideSlice, connect_fields, connect_stream
from .blocks import BlockScores
from .difference import ListDifference
from .dot import DotProduct, beats_of
from .list import list_layout
from .mark import VectorMarker
from .query import QueryCheck, check_sizes, query_layout
from .sort import BlockSorter
from .topk import TopK

__all__ = ["Forecast", "result_layout"]

_PARTS = ("vector", "keys", "pooling", "k", "result", "resident")


def result_layout() -> data.StructLayout:
    """Return what there is to say of a query.

    ``refused``: it could not be answered; then the others are 0. ``flat``: all blocks had the same
    score, forced ones included. ``single``: there was one block. ``fewer``: there were fewer blocks
    than asked for, and so all were chosen.
    """
    return data.StructLayout({"refused": 1, "flat": 1, "single": 1, "fewer": 1})


class Forecast(Component):
    """Choose the blocks of 64 tokens that the next layer attends to, and what to load and evict.

    SparDA's selection: a forecast vector, one per KV head, times compressed keys (mean of 32
    tokens, every 16), without softmax and scale; the largest score of the windows that touch a
    block; blocks at the beginning and the latest ones always taken, the best of the others up to
    ``k`` in all, of equal ones the lower. A KV head of a layer is a query; queries follow each
    other, and run one layer ahead of the attention that they are for.

    ::

        query --> check --+--> to all parts
        vector --> marker --> dot product --> block scores --+--> top k --> sorter --+--> chosen
        keys ----> marker -----^                             +--> result             v
        resident ------------------------------------------------------> difference --> load, evict

    One beat of keys a cycle. Between the keys of two queries pass at most ``k_max + 10`` cycles, in
    which the cells are emptied; lists leave while the next query's keys come. The next query's
    vector loads meanwhile.

    A query that cannot be answered (:class:`~qkloom.rtl.index.query.QueryCheck`) takes its vector,
    its keys and its resident list as announced, and gives empty lists and ``refused``.

    Parameters
    ----------
    k_max : int
        Most blocks to choose.
    blocks : int
        Most blocks to choose from; not less than ``k_max``.
    head_dim : int
        Most elements of a vector; a multiple of ``width``.
    width : int
        Elements of a beat.

    Members
    -------
    query : In(stream)
        What is asked: :func:`~qkloom.rtl.index.query.query_layout`.
    vector : In(stream)
        Its forecast vector, ``beats`` beats of int8.
    keys : In(stream)
        Its compressed keys, ``windows`` times ``beats`` beats of int8.
    resident : In(stream)
        Blocks that are there, ascending: :func:`~qkloom.rtl.index.list.list_layout`.
    result : Out(stream)
        :func:`result_layout`; comes when the last score is known, before the lists.
    chosen : Out(stream)
        The list of blocks chosen, ascending; it goes on only as fast as ``resident`` comes, and
        ``load`` and ``evict`` are taken.
    load, evict : Out(stream)
        Lists, ascending: of those the ones that are not there; of what is there the ones that are
        not chosen.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, ``k_max`` larger than ``blocks``, or
        ``head_dim`` no multiple of ``width``.
    """

    def __init__(
        self, *, k_max: int = 128, blocks: int = 8192, head_dim: int = 128, width: int = 32
    ) -> None:
        check_sizes(k_max=k_max, blocks=blocks)
        beats = beats_of(width=width, head_dim=head_dim)
        self._sizes = {"k_max": k_max, "blocks": blocks, "beats": beats}
        self._width, self._head_dim = width, head_dim
        beat = stream.Signature(data.ArrayLayout(I8, width))
        blocks_of = stream.Signature(list_layout(blocks))
        super().__init__(
            {
                "query": In(stream.Signature(query_layout(**self._sizes))),
                "vector": In(beat),
                "keys": In(beat),
                "resident": In(blocks_of),
                "result": Out(stream.Signature(result_layout())),
                "chosen": Out(blocks_of),
                "load": Out(blocks_of),
                "evict": Out(blocks_of),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Connect the parts, and tell each of them what is asked."""
        m = Module()
        blocks, k_max = self._sizes["blocks"], self._sizes["k_max"]
        m.submodules.check = check = QueryCheck(**self._sizes)
        connect_stream(m, wiring.flipped(self.query), check.i)
        order = check.o.payload.shape()
        m.submodules.fork = fork = Fork(shape=order, n=len(_PARTS))
        connect_stream(m, check.o, fork.i)
        told = dict(zip(_PARTS, fork.o, strict=True))

        m.submodules.dot = dot = DotProduct(width=self._width, head_dim=self._head_dim)
        m.submodules.scores = scores = BlockScores(blocks=blocks, score_width=dot.sum_width)
        m.submodules.topk = topk = TopK(k_max=k_max, blocks=blocks, score_width=dot.sum_width)
        m.submodules.sorter = sorter = BlockSorter(blocks=blocks)
        m.submodules.difference = difference = ListDifference(blocks=blocks)
        connect_stream(m, dot.o, scores.i)
        connect_stream(m, topk.o, sorter.i)

        # Vectors and keys, as many as announced.
        n_windows, n_beats = (1 << len(check.o.payload[x]) for x in ("windows", "beats"))
        for name, vectors in (("vector", 1), ("keys", n_windows - 1)):
            marker = VectorMarker(width=self._width, vectors=vectors, beats=n_beats - 1)
            m.submodules[f"{name}_marker"] = marker
            extent = self._queue(m, name, marker.extent.payload.shape(), told[name])
            is_unused = told[name].payload.windows == 0
            m.d.comb += [
                extent.i.payload.n.eq(1 if name == "vector" else told[name].payload.windows),
                extent.i.payload.beats.eq(told[name].payload.beats),
                extent.i.payload.dropped.eq(told[name].payload.refused | is_unused),
            ]
            connect_stream(m, extent.o, marker.extent)
            m.submodules[f"{name}_slice"] = early = WideSlice(shape=marker.i.payload.shape())
            connect_stream(m, wiring.flipped(getattr(self, name)), early.i)
            connect_stream(m, early.o, marker.i)
            connect_fields(m, marker.o, dot.i_held if name == "vector" else dot.i)

        pooling = self._queue(m, "pooling", scores.call.payload.shape(), told["pooling"])
        m.d.comb += pooling.i.payload.eq(told["pooling"].payload.pooling)
        connect_stream(m, pooling.o, scores.call)
        k = self._queue(m, "k", topk.k.payload.shape(), told["k"])
        m.d.comb += k.i.payload.eq(told["k"].payload.k)
        connect_stream(m, k.o, topk.k)

        # Whoever answers from here does not wait for those behind.
        candidate = scores.o.payload.shape()
        m.submodules.pooled = pooled = Queue(shape=candidate, depth=2)
        m.submodules.candidates = candidates = Fork(shape=candidate, n=2)
        connect_stream(m, scores.o, pooled.i)
        connect_stream(m, pooled.o, candidates.i)
        connect_stream(m, candidates.o[0], topk.i)
        self._give_result(m, candidates.o[1], told["result"])

        # A refused query's resident blocks are not compared with anything.
        m.submodules.lists = lists = Fork(shape=list_layout(blocks), n=2)
        m.submodules.sorted = ascending = Queue(shape=list_layout(blocks), depth=2)
        connect_stream(m, sorter.o, ascending.i)
        connect_stream(m, ascending.o, lists.i)
        m.submodules.chosen = chosen = Queue(shape=list_layout(blocks), depth=2)
        connect_stream(m, lists.o[0], chosen.i)
        connect_stream(m, chosen.o, wiring.flipped(self.chosen))
        connect_stream(m, lists.o[1], difference.chosen)
        connect_stream(m, difference.load, wiring.flipped(self.load))
        connect_stream(m, difference.evict, wiring.flipped(self.evict))
        refused = self._queue(m, "resident", 1, told["resident"])
        m.submodules.resident = early = Queue(shape=list_layout(blocks), depth=2)
        connect_stream(m, wiring.flipped(self.resident), early.i)
        resident = early.o
        passes = Signal()
        m.d.comb += [
            passes.eq(resident.payload.end | ~refused.o.payload),
            refused.i.payload.eq(told["resident"].payload.refused),
            difference.resident.payload.eq(resident.payload),
            difference.resident.valid.eq(resident.valid & refused.o.valid & passes),
            resident.ready.eq(refused.o.valid & (difference.resident.ready | ~passes)),
            refused.o.ready.eq(resident.valid & resident.payload.end & difference.resident.ready),
        ]
        return m

    def _queue(self, m: Module, name: str, shape: Any, order: Any) -> Queue:
        """Return a queue for what a part has to know; its payload is the caller's to assign."""
        m.submodules[f"{name}_orders"] = queue = Queue(shape=shape, depth=2)
        m.d.comb += [queue.i.valid.eq(order.valid), order.ready.eq(queue.i.ready)]
        return queue

    def _give_result(self, m: Module, candidates: Any, order: Any) -> None:
        """Say what there is to say when the candidates end."""
        told = data.StructLayout({"refused": 1, "single": 1, "fewer": 1})
        known = self._queue(m, "result", told, order)
        m.submodules.results = results = Queue(shape=result_layout(), depth=2)
        connect_stream(m, results.o, wiring.flipped(self.result))
        ends = candidates.valid & candidates.payload.end
        m.d.comb += [
            results.i.valid.eq(ends & known.o.valid),
            known.o.ready.eq(ends & results.i.ready),
            candidates.ready.eq(~candidates.payload.end | (known.o.valid & results.i.ready)),
            results.i.payload.flat.eq(candidates.payload.flat & ~known.o.payload.refused),
        ]
        for name in told.members:
            m.d.comb += [
                known.i.payload[name].eq(order.payload[name]),
                results.i.payload[name].eq(known.o.payload[name]),
            ]
