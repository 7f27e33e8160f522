"""Looking ahead: which KV blocks all windows of the next KV head will need."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..stream import RegisterSlice, connect_stream
from .call import SELECTION_WIDTH, call_layout
from .deal import Dealer
from .needs import Needs
from .select import Selector, word_numbers
from .visit import VisitTeller, told_layout

__all__ = ["Scout"]


class Scout(Component):
    """Deal out a call in windows, as if it was to be worked on, and say what they need.

    ::

        i --> dealer --> selector --> needs --> teller --> o
                          |     |
                          memory

    It goes as fast as whoever counts what it says, a KV head ahead; a query block takes a cycle
    for each KV block that it may see, and as much as what is read from memory.

    Parameters
    ----------
    n_lanes, slots, per_lane, heads, tokens, head_dim, size, block, gemm
        As of :class:`~qkloom.rtl.sequencer.deal.Dealer`.
    selects : bool
        Whether the call's layout has the field.
    data_width : int
        Bits of a beat of memory.

    Members
    -------
    i : In(stream)
        Calls with a selection; taken when all query blocks have been dealt.
    request, word
        As of :class:`~qkloom.rtl.sequencer.select.Selector`.
    o : Out(stream)
        :func:`~qkloom.rtl.sequencer.visit.told_layout`: uses, window by window. Where the blocks
        are is not said.

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
        per_lane: int,
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        data_width: int,
        gemm: bool = False,
        selects: bool = False,
    ) -> None:
        outer = ("data_width", "selects")
        self._dealer: dict[str, Any] = {
            **{k: v for k, v in self.parameters.items() if k not in outer},
            "key_heads": int(selects),
        }
        self._selector = {k: v for k, v in self.parameters.items() if k != "selects"}
        shape: dict[str, Any] = dict(heads=heads, tokens=tokens)
        places = n_lanes * per_lane
        self._needs: dict[str, Any] = dict(n_lanes=places, tokens=tokens, block=block, ends=True)
        self._teller: dict[str, Any] = dict(places=places, **shape, block=block)
        call = call_layout(**shape, head_dim=head_dim, size=size, gemm=gemm, selects=selects)
        numbers = word_numbers(**shape, block=block, data_width=data_width)
        told = told_layout(**self._teller)
        super().__init__(
            {
                "i": In(stream.Signature(call)),
                "request": Out(stream.Signature(numbers)),
                "word": In(stream.Signature(SELECTION_WIDTH)),
                "o": Out(stream.Signature(told)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts, with registers between those that look far."""
        m = Module()
        m.submodules.dealer = dealer = Dealer(**self._dealer)
        m.submodules.selector = selector = Selector(**self._selector)
        m.submodules.needs = needs = Needs(**self._needs)
        m.submodules.teller = teller = VisitTeller(**self._teller)
        connect_stream(m, wiring.flipped(self.i), dealer.i)
        m.submodules.entry = entry = RegisterSlice(shape=dealer.o.payload.shape(), mode="half")
        connect_stream(m, dealer.o, entry.i)
        m.submodules.mark = mark = RegisterSlice(shape=needs.i.payload.shape())
        connect_stream(m, selector.marks, mark.i)
        connect_stream(m, mark.o, needs.i)
        connect_stream(m, selector.request, wiring.flipped(self.request))
        connect_stream(m, wiring.flipped(self.word), selector.word)
        connect_stream(m, needs.o, teller.i)
        connect_stream(m, teller.o, wiring.flipped(self.o))
        m.d.comb += [
            dealer.windowed.eq(1),
            selector.i.payload.entry.eq(entry.o.payload),
            selector.i.valid.eq(entry.o.valid),
            entry.o.ready.eq(selector.i.ready),
            selector.o.ready.eq(1),  # whom it concerns is of no interest here
        ]
        return m
