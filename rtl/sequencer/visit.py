"""Telling a cache of the KV blocks that windows need."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..cache.outlook import use_layout
from ..component import Component
from ..stream import RegisterSlice, connect_stream
from .call import n_blocks, needed_layout

__all__ = ["VisitTeller", "fill_use", "told_layout", "use_of_window"]


def use_of_window(*, places: int, tokens: int, block: int) -> data.StructLayout:
    """Return a use of a KV block in a window of so many places, or a window's end."""
    return use_layout(blocks=n_blocks(heads=1, tokens=tokens, block=block), jobs=places)


def fill_use(m: Module, use: Any, needed: Any) -> None:
    """Say how many places need a KV block."""
    n_places: Any = sum(Value.cast(needed.lanes))
    m.d.comb += [
        use.block.eq(needed.block),
        use.jobs.eq(n_places),
        use.ends.eq(needed.ends),
        use.last.eq(needed.last & needed.ends),
    ]


def told_layout(*, places: int, heads: int, tokens: int, block: int) -> data.StructLayout:
    """Return a use of a KV block, or an end, and where the block is in its tensor."""
    most = n_blocks(heads=heads, tokens=tokens, block=block)
    return data.StructLayout(
        {
            "use": use_of_window(places=places, tokens=tokens, block=block),
            "index": range(max(most, 2)),
            "tokens": range(block + 1),
        }
    )


class VisitTeller(Component):
    """Say of each KV block that a window needs how many jobs it has, and where it is.

    An item a cycle; no path crosses.

    Parameters
    ----------
    places : int
        Query blocks of a window.
    heads, tokens : int
        Most KV heads, longest sequence.
    block : int
        Tokens of a block.

    Members
    -------
    n_kv, kv_blocks : In
        Keys of the call, and blocks of each of its KV heads.
    i : In(stream)
        :func:`~qkloom.rtl.sequencer.call.needed_layout`, with ends.
    forget : In(1)
        The next KV head is a call's first one.
    o : Out(stream)
        :func:`told_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, places: int, heads: int, tokens: int, block: int) -> None:
        self._block = block
        needed = needed_layout(n_lanes=places, tokens=tokens, block=block, ends=True)
        told = told_layout(places=places, heads=heads, tokens=tokens, block=block)
        super().__init__(
            {
                "n_kv": In(range(tokens + 1)),
                "kv_blocks": In(Shape.cast(told["index"].shape)),
                "i": In(stream.Signature(needed)),
                "forget": In(1),
                "o": Out(stream.Signature(told)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count places, and blocks of the KV heads before."""
        m = Module()
        needed = self.i.payload
        m.submodules.item = item = RegisterSlice(shape=self.o.payload.shape())
        connect_stream(m, item.o, wiring.flipped(self.o))
        told = item.i.payload
        before = Signal.like(told.index)  # blocks of KV heads before this one
        left = Signal.like(self.n_kv)  # tokens from the block on
        fill_use(m, told.use, needed)
        m.d.comb += [
            left.eq(self.n_kv - needed.first_key),
            told.index.eq(before + needed.block),
            told.tokens.eq(Mux(left > self._block, self._block, left)),
            item.i.valid.eq(self.i.valid),
            self.i.ready.eq(item.i.ready),
        ]
        with m.If(self.forget):
            m.d.sync += before.eq(0)
        with m.Elif(self.i.valid & self.i.ready & told.use.last):
            m.d.sync += before.eq(before + self.kv_blocks)
        return m
