"""A query for blocks: checked, and cut into what each part has to know."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from .blocks import PER_BLOCK, pooling_layout
from .compress import STRIDE

__all__ = ["TOKENS", "QueryCheck", "check_sizes", "order_layout", "query_layout"]

TOKENS = PER_BLOCK * STRIDE
"""Tokens of a block."""


def check_sizes(*, k_max: int, blocks: int) -> None:
    """Check the sizes of a selection.

    Raises
    ------
    TypeError, ValueError
        When one is not a positive integer, or ``k_max`` larger than ``blocks``.
    """
    check_count("Blocks", blocks)
    check_count("Largest k", k_max, most=blocks)


def query_layout(*, k_max: int, blocks: int, beats: int) -> data.StructLayout:
    """Return a query; each number has room for twice what is allowed, so that it can be refused.

    ``windows``: compressed keys that there are; ``position``: of the query, among tokens; ``k``:
    blocks to choose; ``init``: first blocks that are always taken; ``local``: latest ones that are,
    beside the query's own; ``beats``: of a vector.
    """
    check_sizes(k_max=k_max, blocks=blocks)
    check_count("Number of beats", beats)
    few = range(2 * (k_max + 1))
    return data.StructLayout(
        {
            "windows": range(2 * (PER_BLOCK * blocks + 1)),
            "position": range(2 * TOKENS * blocks),
            "k": few,
            "init": few,
            "local": few,
            "beats": range(2 * (beats + 1)),
        }
    )


def order_layout(*, k_max: int, blocks: int, beats: int) -> data.StructLayout:
    """Return a query as it was understood.

    ``windows``, ``beats``: what comes, wanted or not; ``pooling``: see
    :func:`~qkloom.rtl.index.blocks.pooling_layout`; ``k``: blocks to choose; ``refused``;
    ``single``: there is one block; ``fewer``: there are less than ``k``. Of a refused query all
    but the first two are 0.
    """
    query = query_layout(k_max=k_max, blocks=blocks, beats=beats).members
    return data.StructLayout(
        {
            "windows": query["windows"],
            "beats": query["beats"],
            "pooling": pooling_layout(blocks),
            "k": range(k_max + 1),
            "refused": 1,
            "single": 1,
            "fewer": 1,
        }
    )


class QueryCheck(Component):
    """Refuse a query that the hardware cannot answer, and work out what the others ask for.

    Refused are: more blocks to choose than ``k_max``; less than are always taken, ``init + local +
    1``; a position beyond the last block; more windows than ``blocks`` have; vectors of no beats,
    or of more than ``beats``.

    Latency 3 cycles, a query every 4 cycles.

    Parameters
    ----------
    k_max, blocks : int
        Most blocks to choose, and to choose from; ``k_max`` is not larger.
    beats : int
        Most beats of a vector.

    Members
    -------
    i : In(stream)
        Queries: :func:`query_layout`.
    o : Out(stream)
        The same, understood: :func:`order_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``k_max`` larger than ``blocks``.
    """

    def __init__(self, *, k_max: int, blocks: int, beats: int) -> None:
        sizes = {"k_max": k_max, "blocks": blocks, "beats": beats}
        self._k_max, self._blocks, self._beats = k_max, blocks, beats
        super().__init__(
            {
                "i": In(stream.Signature(query_layout(**sizes))),
                "o": Out(stream.Signature(order_layout(**sizes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Compare, subtract, decide: a step each, from registers to registers."""
        m = Module()
        query = Signal(self.i.payload.shape(), reset_less=True)
        o = Signal(self.o.payload.shape(), reset_less=True)
        last_block = Signal(range(2 * self._blocks))
        always = Signal(range(4 * (self._k_max + 1)), reset_less=True)  # less 1
        refused = Signal(5, reset_less=True)
        m.d.comb += [
            last_block.eq(query.position >> (TOKENS - 1).bit_length()),
            self.o.payload.eq(o),
        ]
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += query.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "compare"
            with m.State("compare"):
                m.d.sync += [
                    always.eq(query.init + query.local),
                    refused[0].eq(query.k > self._k_max),
                    refused[1].eq(last_block >= self._blocks),
                    refused[2].eq(query.windows > PER_BLOCK * self._blocks),
                    refused[3].eq(query.beats == 0),
                    refused[4].eq(query.beats > self._beats),
                    o.windows.eq(query.windows),
                    o.beats.eq(query.beats),
                    o.k.eq(query.k),
                    o.pooling.windows.eq(query.windows),
                    o.pooling.n_blocks.eq(last_block + 1),
                    o.pooling.seen.eq(query.position >> (STRIDE - 1).bit_length()),
                    o.pooling.init.eq(query.init),
                    o.pooling.until_local.eq(last_block - query.local),
                    o.single.eq(last_block == 0),
                    o.fewer.eq(last_block + 1 < query.k),
                ]
                with m.If(last_block < query.local):
                    m.d.sync += o.pooling.until_local.eq(0)
                m.next = "decide"
            with m.State("decide"):
                m.d.sync += o.refused.eq(0)
                with m.If(refused.any() | (always >= query.k)):
                    m.d.sync += [
                        o.k.eq(0),
                        o.pooling.eq(0),
                        o.refused.eq(1),
                        o.single.eq(0),
                        o.fewer.eq(0),
                    ]
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "take"
        return m
