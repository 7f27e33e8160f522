"""Walking through a call of either kind: attention, or a product of matrices."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from ..component import Component
from ..stream import RegisterSlice, connect_stream
from .attention import AttentionWalker
from .call import needed_layout
from .product import ProductWalker, walker_ports
from .select import selected_entries

__all__ = ["EitherWalker", "fill"]

_STREAMS = ("jobs", "rows", "places", "tiles")


class EitherWalker(Component):
    """Give each call to the walker of its kind, and put out what that one asks for.

    Parameters
    ----------
    n_lanes, slots, heads, tokens, head_dim, size, block : int
        As :class:`~qkloom.rtl.sequencer.product.ProductWalker` has them.
    runtime_precision : bool
        Whether jobs say how many bits of what streams count.
    sparse : bool
        Whether attention may have a selection.
    selects : bool
        Whether a call may be an index call.

    Members
    -------
    call : In
        The call that is being worked on, from before its first block until ``busy`` ends.
    q_blocks, kv_blocks : In
        Of a product, blocks of a chunk of the activations, and of the weights.
    i : In(stream)
        Its output blocks: :func:`~qkloom.rtl.sequencer.walk.factored_entry`.
    sparse, needed
        With ``sparse``, as of :class:`~qkloom.rtl.sequencer.walk.Walker`.
    jobs, rows, places, tiles : Out(stream)
        As the walkers have them; ``to`` of ``rows`` has a bit per lane.
    busy : Out(1)
        A round is on its way, or was in the cycle before. It rises two cycles after a round's last
        block.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a block no power of two of tiles.
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
        self._shape = {k: v for k, v in self.parameters.items() if k != "sparse"}
        ports = walker_ports(**self._shape)
        if sparse:
            others = ("runtime_precision", "selects")
            shape = {k: v for k, v in self._shape.items() if k not in others}
            _, entry = selected_entries(**shape, gemm=True)
            needed = needed_layout(n_lanes=n_lanes, tokens=tokens, block=block)
            ports |= {"i": In(stream.Signature(entry))}
            ports |= {"sparse": In(1), "needed": In(stream.Signature(needed))}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        """Choose by a bit that stays as long as the call does."""
        m = Module()
        gemm = self.call.gemm
        m.submodules.attention = attention = AttentionWalker(**self.parameters)
        m.submodules.product = product = ProductWalker(**self._shape)
        walkers = ((attention, ~gemm), (product, gemm))
        m.submodules.entry = entry = RegisterSlice(shape=self.i.payload.shape(), mode="half")
        connect_stream(m, wiring.flipped(self.i), entry.i)
        m.d.sync += self.busy.eq(attention.busy | product.busy | entry.o.valid)
        if self._sparse:
            connect_stream(m, wiring.flipped(self.needed), attention.needed)
            m.d.comb += attention.sparse.eq(self.sparse)
        m.d.comb += [product.q_blocks.eq(self.q_blocks), product.kv_blocks.eq(self.kv_blocks)]
        for walker, is_meant in walkers:
            fill(m, walker.call, self.call)
            fill(m, walker.i.payload, entry.o.payload)
            m.d.comb += walker.i.valid.eq(entry.o.valid & is_meant)
        # Who has no call takes: so both are ready when the one is that is meant.
        m.d.comb += entry.o.ready.eq(product.i.ready & attention.i.ready)

        for name in _STREAMS:
            mine = getattr(self, name)
            for walker, is_meant in walkers:
                theirs = getattr(walker, name)
                m.d.comb += theirs.ready.eq(mine.ready)
                with m.If(is_meant):
                    fill(m, mine.payload, theirs.payload)
                    m.d.comb += mine.valid.eq(theirs.valid)
        with m.If(~gemm):  # a query block is one lane's, where rows of a product go to many
            m.d.comb += self.rows.payload.to.eq(1 << attention.rows.payload.to)
        return m


def fill(m: Module, mine: Any, theirs: Any) -> None:
    """Assign the fields that both have; others of ``mine`` are 0."""
    for name in mine.shape().members:
        if name not in theirs.shape().members:
            continue
        if isinstance(mine[name], data.View):
            fill(m, mine[name], theirs[name])
        else:
            m.d.comb += mine[name].eq(theirs[name])
