"""Looking ahead: which KV blocks all windows of the next KV head will need."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.command import beat_layout, command_layout
from ..component import Component
from ..stream import RegisterSlice, connect_stream
from .call import SELECTION_WIDTH, call_layout, n_blocks, row_words
from .deal import Dealer
from .lookup import Lookup
from .needs import Needs
from .select import Selector
from .visit import fill_use, use_of_window

__all__ = ["Scout"]


class Scout(Component):
    """Deal out a call in windows, as if it was to be worked on, and say what they need.

    ::

        i --> dealer --> selector --> needs --> o
                          |     |
                          lookup
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
    data_width, address_width : int
        Bits of a beat of memory, and of an address.

    Members
    -------
    i : In(stream)
        Calls with a selection; taken when all query blocks have been dealt.
    base : In
        Where the call's selection is.
    forget : In(1)
        It may be another one now.
    o : Out(stream)
        :func:`~qkloom.rtl.sequencer.visit.use_of_window`: uses, window by window.
    command, beat
        To memory, as of :class:`~qkloom.rtl.sequencer.lookup.Lookup`.

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
        address_width: int = 64,
        gemm: bool = False,
        selects: bool = False,
    ) -> None:
        outer = ("data_width", "address_width", "selects")
        self._dealer: dict[str, Any] = {
            **{k: v for k, v in self.parameters.items() if k not in outer},
            "key_heads": int(selects),
        }
        others = ("address_width", "selects")
        self._selector = {k: v for k, v in self.parameters.items() if k not in others}
        shape: dict[str, Any] = dict(heads=heads, tokens=tokens)
        places = n_lanes * per_lane
        self._needs: dict[str, Any] = dict(n_lanes=places, tokens=tokens, block=block, ends=True)
        words = row_words(tokens=tokens, block=block, data_width=data_width)
        self._lookup: dict[str, int] = dict(
            entries=words * n_blocks(**shape, block=block),
            entry_width=SELECTION_WIDTH,
            data_width=data_width,
            address_width=address_width,
        )
        call = call_layout(**shape, head_dim=head_dim, size=size, gemm=gemm, selects=selects)
        use = use_of_window(places=places, tokens=tokens, block=block)
        command = command_layout(address_width=address_width, beats=1)
        super().__init__(
            {
                "i": In(stream.Signature(call)),
                "base": In(address_width),
                "forget": In(1),
                "o": Out(stream.Signature(use)),
                "command": Out(stream.Signature(command)),
                "beat": In(stream.Signature(beat_layout(data_width=data_width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts, with registers between those that look far."""
        m = Module()
        m.submodules.dealer = dealer = Dealer(**self._dealer)
        m.submodules.selector = selector = Selector(**self._selector)
        m.submodules.needs = needs = Needs(**self._needs)
        m.submodules.rows = rows = Lookup(**self._lookup)
        connect_stream(m, wiring.flipped(self.i), dealer.i)
        m.submodules.entry = entry = RegisterSlice(shape=dealer.o.payload.shape(), mode="half")
        connect_stream(m, dealer.o, entry.i)
        m.submodules.mark = mark = RegisterSlice(shape=needs.i.payload.shape())
        connect_stream(m, selector.marks, mark.i)
        connect_stream(m, mark.o, needs.i)
        connect_stream(m, selector.request, rows.i)
        connect_stream(m, rows.o, selector.word)
        connect_stream(m, rows.command, wiring.flipped(self.command))
        connect_stream(m, wiring.flipped(self.beat), rows.beat)
        m.submodules.use = use = RegisterSlice(shape=self.o.payload.shape())
        connect_stream(m, use.o, wiring.flipped(self.o))
        fill_use(m, use.i.payload, needs.o.payload)
        m.d.comb += [
            use.i.valid.eq(needs.o.valid),
            needs.o.ready.eq(use.i.ready),
            rows.base.eq(self.base),
            rows.forget.eq(self.forget),
            dealer.windowed.eq(1),
            selector.i.payload.entry.eq(entry.o.payload),
            selector.i.valid.eq(entry.o.valid),
            entry.o.ready.eq(selector.i.ready),
            selector.o.ready.eq(1),  # whom it concerns is of no interest here
        ]
        return m
