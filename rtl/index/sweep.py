"""Through all windows and blocks: to add up, there and back."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index
from ..stream import RegisterSlice, connect_stream
from .list import list_layout

__all__ = ["UseSweep", "step_layout", "triangle", "uses_call"]


def uses_call(*, blocks: int, heads: int) -> data.StructLayout:
    """Return the layout of what is said of a KV group: ``n`` blocks of each of ``heads`` heads."""
    check_count("Blocks", blocks)
    check_count("Heads", heads)
    return data.StructLayout({"n": range(blocks + 1), "heads": range(heads + 1)})


def triangle(*, blocks: int, window: int) -> int:
    """Return how many blocks the windows can use in all: each those up to its own end."""
    check_count("Blocks", blocks)
    check_count("Window", window)
    return sum(min(end, blocks) for end in range(window, blocks + window, window))


def step_layout(*, blocks: int, window: int) -> data.StructLayout:
    """Return the layout of what is to be done next; one or none of the first five.

    ``adds``: there is a job more at ``place``. ``clears`` it. ``backs``, from the last window to
    the first, or ``tells``, from the first to the last: here is ``block`` of window ``number``,
    and ``place`` is theirs. ``ends``: a window has been told. ``is_last``: it is the last window.
    """
    return data.StructLayout(
        {
            **dict.fromkeys(("adds", "clears", "backs", "tells", "ends", "is_last"), 1),
            "place": range(max(triangle(blocks=blocks, window=window), 2)),
            "block": range(max(blocks, 2)),
            "number": index(-(-blocks // window)),
        }
    )


class UseSweep(Component):
    """Say step by step which word of a triangle of windows and blocks is next.

    Window w has a word for each block up to its end: they lie one behind the other, so that a sweep
    counts places up or down. First come the lists' entries, an item a cycle; then a sweep back, and
    one forth. Between two windows on the way back a cycle is lost, and on the way forth there are
    three; so a block never comes in two cycles that follow each other. Nor does a place: between
    entries of two lists is the end of one.

    Parameters
    ----------
    blocks, heads, window : int
        As of :class:`~qkloom.rtl.index.uses.UseTable`.

    Members
    -------
    call, i : In(stream)
        As of the table.
    has_room : In(1)
        Whoever tells can take a step more. It holds up the sweep forth only.
    o : Out
        The step, from registers: :func:`step_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, heads: int, window: int) -> None:
        self._heads, self._window = heads, window
        call = uses_call(blocks=blocks, heads=heads)
        self._depth = triangle(blocks=blocks, window=window)
        super().__init__(
            {
                "call": In(stream.Signature(call)),
                "i": In(stream.Signature(list_layout(blocks))),
                "has_room": In(1),
                "o": Out(step_layout(blocks=blocks, window=window)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count; whether a count is at its end is found out a step ahead."""
        m = Module()
        window = self._window
        m.submodules.slice = early = RegisterSlice(shape=self.i.payload.shape())
        connect_stream(m, wiring.flipped(self.i), early.i)
        i, call, o = early.o.payload, self.call.payload, self.o

        address = Signal.like(o.place, init=self._depth - 1)
        block, number = Signal.like(o.block), Signal.like(o.number)
        gap = Signal.like(block)  # blocks of the window behind this one
        stride = Signal(range(self.parameters["blocks"] + window))  # the block behind the window
        last = Signal.like(block, reset_less=True)
        last_number = Signal.like(number, reset_less=True)
        last_head = Signal(range(max(self._heads, 2)), reset_less=True)
        is_cleared = Signal(init=self._depth == 1)
        is_single = Signal()  # block
        is_last = Signal()  # window
        is_first = Signal()  # window
        at_end = Signal()  # of the window, or its beginning on the way back

        # One register for each state: who asks for it has no LUT to wait for.
        ends = Signal()
        row_is_last, head_is_last = Signal(), Signal()
        leaves: dict[str, Value | int] = {
            "clear": is_cleared,
            "idle": self.call.valid,
            "start": 1,
            "add": ends & row_is_last & head_is_last,
            "drain": 1,
            "turn": 1,
            "back": at_end,
            "over": 1,
            "begin": 1,
            "measure": 1,
            "tell": self.has_room & at_end,
            "end": self.has_room,
        }
        states = {name: Signal(name=f"is_{name}", init=name == "clear") for name in leaves}
        goes = {name: Signal(name=f"goes_{name}") for name in leaves}
        m.d.comb += [goes[name].eq(states[name] & leaves[name]) for name in leaves]
        comes_from: dict[str, Value | int] = {
            "clear": 0,
            "idle": goes["clear"] | (goes["end"] & is_last),
            "start": goes["idle"],
            "add": goes["start"],
            "drain": goes["add"],
            "turn": goes["drain"],
            "back": goes["turn"] | (goes["over"] & ~is_first),
            "over": goes["back"],
            "begin": (goes["over"] & is_first) | (goes["end"] & ~is_last),
            "measure": goes["begin"],
            "tell": goes["measure"],
            "end": goes["tell"],
        }
        for name, is_now in states.items():
            m.d.sync += is_now.eq(comes_from[name] | (is_now & ~goes[name]))

        # Lists: which row it is, and where its window begins.
        m.d.comb += [
            self.call.ready.eq(states["idle"]),
            early.o.ready.eq(states["add"]),
            ends.eq(early.o.valid & states["add"] & i.end),
        ]
        with m.If(states["idle"]):
            m.d.sync += [last.eq(call.n - 1), last_head.eq(call.heads - 1)]
        row_ends = Signal()
        m.d.comb += [
            row_ends.eq(ends & row_is_last),
            row_is_last.eq(_counted(m, last, starts=states["start"], moves=ends, name="row")),
            head_is_last.eq(
                _counted(m, last_head, starts=states["start"], moves=row_ends, name="head")
            ),
        ]
        base = Signal.like(address)
        at = Signal(range(window))  # row in its window
        at_last = Signal()
        with m.If(ends):
            m.d.sync += [at.eq(at + 1), at_last.eq((at == window - 2) | (window == 1))]
            with m.If(at_last | row_is_last):
                m.d.sync += [at.eq(0), at_last.eq(window == 1)]
        with m.If(states["start"]):
            m.d.sync += [at.eq(0), at_last.eq(window == 1)]

        # A cycle later.
        adds = Signal()
        is_item = Signal()
        offset = Signal.like(block, reset_less=True)
        rewinds, next_window = Signal(), Signal()
        forth, back = Signal(), Signal()
        m.d.sync += [
            adds.eq(early.o.valid & states["add"] & ~i.end),
            is_item.eq(states["add"]),
            offset.eq(Mux(i.end, last, i.block)),
            rewinds.eq(states["start"] | (row_ends & ~head_is_last)),
            next_window.eq(ends & at_last & ~row_is_last),
        ]
        m.d.comb += [
            forth.eq(next_window | goes["end"]),
            back.eq(states["over"] & ~is_first),
        ]
        with m.If(forth):
            m.d.sync += [
                base.eq(base + stride),
                number.eq(number + 1),
                stride.eq(stride + window),
            ]
        with m.If(back):
            m.d.sync += [number.eq(number - 1), stride.eq(stride - window)]
        with m.If(rewinds):
            m.d.sync += [base.eq(0), number.eq(0), stride.eq(window)]

        # Sweeps.
        moves = Signal()
        m.d.comb += moves.eq(states["tell"] & self.has_room)
        m.d.sync += is_cleared.eq(address == 1)
        with m.If(states["clear"] | states["back"]):
            m.d.sync += address.eq(address - 1)
        with m.If(moves):
            m.d.sync += address.eq(address + 1)
        # With the last row's end, the place is where the sweep begins.
        with m.If(states["turn"]):
            m.d.sync += address.eq(o.place)
        with m.If(states["over"] & is_first):
            m.d.sync += address.eq(0)

        with m.If(states["start"]):
            m.d.sync += is_single.eq(last == 0)
        with m.If(states["turn"]):
            m.d.sync += [
                last_number.eq(number),
                block.eq(last),
                is_last.eq(1),
                is_first.eq(number == 0),
                at_end.eq(is_single),
            ]
        with m.If(states["back"]):
            m.d.sync += [block.eq(block - 1), at_end.eq(block == 1)]
        with m.If(states["over"]):
            m.d.sync += is_last.eq(0)
        with m.If(back):
            m.d.sync += [
                block.eq(stride - (window + 1)),
                is_first.eq(number == 1),
                at_end.eq((number == 1) & (window == 1)),
            ]
        with m.If(states["begin"]):
            m.d.sync += is_last.eq(number == last_number)
        with m.If(states["measure"]):
            m.d.sync += [
                block.eq(0),
                gap.eq(Mux(is_last, last, stride - 1)),
                at_end.eq(is_single | (is_first & (window == 1))),
            ]
        with m.If(moves):
            m.d.sync += [block.eq(block + 1), gap.eq(gap - 1), at_end.eq(gap == 1)]
        with m.If(goes["end"]):
            m.d.sync += is_first.eq(0)

        with m.If(is_item):
            m.d.sync += o.place.eq(base + offset)
        with m.Else():
            m.d.sync += o.place.eq(address)
        m.d.sync += [
            o.adds.eq(adds),
            o.clears.eq(states["clear"]),
            o.backs.eq(states["back"]),
            o.tells.eq(moves),
            o.ends.eq(goes["end"]),
            o.is_last.eq(is_last),
            o.block.eq(block),
            o.number.eq(number),
        ]
        return m


def _counted(m: Module, last: Value, *, starts: Value, moves: Value, name: str) -> Signal:
    """Tell, from a register, whether a count from 0 to ``last`` is there; then it begins anew."""
    left = Signal.like(last, name=f"{name}s_left")
    is_single = Signal(name=f"{name}_is_single")
    is_last = Signal(name=f"{name}_is_at_last")
    with m.If(moves):
        m.d.sync += [left.eq(left - 1), is_last.eq(left == 1)]
        with m.If(is_last):
            m.d.sync += [left.eq(last), is_last.eq(is_single)]
    with m.If(starts):
        m.d.sync += [left.eq(last), is_last.eq(last == 0), is_single.eq(last == 0)]
    return is_last
