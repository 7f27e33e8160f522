"""Asking for all queries of the heads that are, or may be, query-aware."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..index.rule import aware_layout
from .call import n_blocks, request_layout

__all__ = ["AwareQueries"]


class AwareQueries(Component):
    """Turn the heads of an index call, and verdicts on them, into requests for tiles of queries.

    The heads of a round are scored side by side, so their verdicts come at about the same time.
    Queries of some are asked for before, and are there when the verdict is; those of others if they
    are query-aware. Two cycles a tile; a head that is passed over takes one.

    Parameters
    ----------
    n_lanes : int
        Lanes; a request has a bit for each, and all of them are 0.
    heads, tokens : int
        Most query heads, longest sequence.
    size, block : int
        Rows and columns of an array; tokens of a block.

    Members
    -------
    heads, tokens : In
        Of the call.
    begins : In(stream)
        Of each head, when its round begins: ``ahead``, it does not wait for its verdict.
    i : In(stream)
        :func:`~qkloom.rtl.index.rule.aware_layout`, of all heads in their order.
    o : Out(stream)
        Tiles of a tensor of all heads' queries, ascending:
        :func:`~qkloom.rtl.sequencer.call.request_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a block no multiple of the size.
    """

    def __init__(
        self,
        *,
        n_lanes: int,
        heads: int,
        tokens: int,
        size: int,
        block: int,
    ) -> None:
        check_count("Number of lanes", n_lanes)
        self._n_lanes = n_lanes
        check_count("Size", size)
        most = n_blocks(heads=heads, tokens=tokens, block=block)
        if block % size:
            raise ValueError(f"Block must be a multiple of size {size}, not {block}")
        self._size, self._tiles = size, block // size
        self._most = most
        request = request_layout(to=n_lanes, blocks=most, tiles=self._tiles, tokens=size)
        per_head = n_blocks(heads=1, tokens=tokens, block=block)
        super().__init__(
            {
                "heads": In(range(heads + 1)),
                "tokens": In(range(tokens + 1)),
                "begins": In(stream.Signature(data.StructLayout({"ahead": 1}))),
                "i": In(stream.Signature(aware_layout(per_head))),
                "o": Out(stream.Signature(request)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count heads, and blocks of all heads."""
        m = Module()
        tile = self.o.payload
        first = Signal(range(self._most + 1))  # block of the head, then the one that is asked for
        number = Signal.like(self.heads, init=1)  # of the head, from 1
        left = Signal.like(self.tokens)
        is_last = Signal()
        goes_on = Signal()
        m.d.comb += [tile.index.eq(first), goes_on.eq(number != self.heads)]

        # Of heads that have not waited the verdict comes later.
        waits = Signal()
        behind = Signal(range(2 * self._n_lanes + 1))  # verdicts to come
        is_behind, is_told = Signal(), Signal()
        takes = Signal()
        m.d.comb += [
            waits.eq(~self.begins.payload.ahead),
            is_behind.eq(behind.any()),
            is_told.eq(self.i.valid & ~is_behind),
            takes.eq(self.begins.valid & self.begins.ready),
        ]
        m.d.sync += behind.eq(behind + (takes & ~waits) - (self.i.valid & is_behind))

        def next_head() -> None:
            m.d.sync += number.eq(Mux(goes_on, number + 1, 1))

        with m.FSM() as fsm:
            rests = fsm.ongoing("rest")
            m.d.comb += [
                self.i.ready.eq(is_behind | (rests & self.begins.valid & waits)),
                self.begins.ready.eq(rests & Mux(waits, is_told, ~behind[-1])),
            ]
            with m.State("rest"):
                m.d.sync += [left.eq(self.tokens), tile.tile.eq(0)]
                with m.If(takes):
                    with m.If(~waits | self.i.payload.is_aware):
                        m.next = "compare"
                    with m.Else():
                        m.d.sync += first.eq(Mux(goes_on, first + self.i.payload.blocks, 0))
                        next_head()
            with m.State("compare"):
                is_few = left <= self._size
                m.d.sync += [tile.tokens.eq(Mux(is_few, left, self._size)), is_last.eq(is_few)]
                m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - self._size)
                    m.d.sync += tile.tile.eq(tile.tile + 1)
                    with m.If((tile.tile == self._tiles - 1) | is_last):
                        m.d.sync += [tile.tile.eq(0), first.eq(first + 1)]
                    m.next = "compare"
                    with m.If(is_last):
                        next_head()
                        with m.If(~goes_on):
                            m.d.sync += first.eq(0)
                        m.next = "rest"
        return m
