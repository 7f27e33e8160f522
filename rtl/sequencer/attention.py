"""Walking through attention, with a stream for each of those who follow."""

from amaranth.hdl import Module
from amaranth.lib import wiring

from ..component import Component
from ..stream import Fork, RegisterSlice, connect_stream
from .walk import Walker, walker_ports

__all__ = ["AttentionWalker"]


class AttentionWalker(Component):
    """A walker whose query blocks go to whoever fetches and to whoever stores, each in its time.

    ::

        i --> walker --+--> jobs, tiles
                       +--> slice --> fork --> rows, places

    Parameters
    ----------
    n_lanes, slots, heads, tokens, head_dim, size, block, runtime_precision, sparse, selects
        As of :class:`~qkloom.rtl.sequencer.walk.Walker`.

    Members
    -------
    call, i, sparse, needed, jobs, tiles
        Those of the walker.
    rows, places : Out(stream)
        Query blocks to fetch, and to keep a place for: ``to`` is the lane.
    busy : Out(1)
        A round is on its way, or query blocks wait.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(
        self,
        *,
        n_lanes: int,
        slots: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        runtime_precision: bool = False,
        sparse: bool = False,
        selects: bool = False,
    ) -> None:
        self._sparse = sparse
        members = walker_ports(**self.parameters)
        blocks = members.pop("blocks")
        super().__init__({**members, "rows": blocks, "places": blocks})

    def elaborate(self, platform: object) -> Module:
        """Keep a query block until both have taken it; the walker goes on."""
        m = Module()
        m.submodules.walker = walker = Walker(**self.parameters)
        shape = walker.blocks.payload.shape()
        m.submodules.block = kept = RegisterSlice(shape=shape, mode="half")
        m.submodules.blocks = blocks = Fork(shape=shape, n=2)
        connect_stream(m, walker.blocks, kept.i)
        connect_stream(m, kept.o, blocks.i)
        connect_stream(m, blocks.o[0], wiring.flipped(self.rows))
        connect_stream(m, blocks.o[1], wiring.flipped(self.places))
        connect_stream(m, wiring.flipped(self.i), walker.i)
        for name in ("jobs", "tiles"):
            connect_stream(m, getattr(walker, name), wiring.flipped(getattr(self, name)))
        if self._sparse:
            connect_stream(m, wiring.flipped(self.needed), walker.needed)
            m.d.comb += walker.sparse.eq(self.sparse)
        m.d.comb += [walker.call.eq(self.call), self.busy.eq(walker.busy | kept.o.valid)]
        return m
