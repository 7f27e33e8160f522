"""How often KV blocks will be used, and when again: what a cache wants to know beforehand."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.count import count_to
from ..lane.job import index
from ..stream import Queue, connect_stream
from .list import list_layout

__all__ = ["UseTable", "use_layout", "uses_call"]

_DEPTH = 4
"""Room for entries that are on their way when the room is looked at: rate 1."""


def uses_call(*, blocks: int, heads: int) -> data.StructLayout:
    """Return the layout of what is said of a KV group: ``n`` blocks of each of ``heads`` heads."""
    check_count("Blocks", blocks)
    check_count("Heads", heads)
    return data.StructLayout({"n": range(blocks + 1), "heads": range(heads + 1)})


def use_layout(*, blocks: int, heads: int, window: int) -> data.StructLayout:
    """Return the layout of a KV block's use in a window, or of the window's ``end``.

    ``jobs`` of the block in this window; ``left``: these and all later ones. ``again``: there are
    later ones, and ``next`` is the first window with any. With ``end``, and of ``next`` without
    ``again``, all is 0.
    """
    check_count("Blocks", blocks)
    check_count("Heads", heads)
    check_count("Window", window)
    return data.StructLayout(
        {
            "block": range(max(blocks, 2)),
            "left": range(blocks * heads + 1),
            "jobs": range(min(window, blocks) * heads + 1),
            "next": index(-(-blocks // window)),
            "again": 1,
            "end": 1,
        }
    )


class UseTable(Component):
    """Tell for each window of query blocks which KV blocks it uses, how often, and when again.

    ::

        i --> add --> jobs (memory: windows x blocks) --+
                                                        +--> sweep --> queue --> o
                next (likewise) <--> live (blocks) <----+

    Attention takes ``window`` query blocks of all heads of a KV group at a time, and KV blocks in
    ascending order (FAST-Prefill, sparse attention; windows bound its state). Jobs left are a
    block's liveness there: at 0 nobody needs it.

    First all lists are added up. Then a sweep from the last window to the first writes down when a
    block is used next, and counts all its jobs; and one from the first to the last tells, and leaves
    zeros behind. No block comes after its window: so the memory is a triangle, whose words are
    visited in the order of their places.

    A list's item a cycle; a sweep takes a cycle for each block up to the end of each window, used
    or not, and at most 2 more for each window. With 1,024 blocks in windows of 8 that are 66,048
    and 256. After a reset all is cleared first, a block a cycle.

    Parameters
    ----------
    blocks : int
        Most blocks.
    heads : int
        Most heads of a group.
    window : int
        Query blocks of a window.

    Members
    -------
    call : In(stream)
        The group: :func:`uses_call`; at least one block and one head.
    i : In(stream)
        The lists of the rows of all heads, :func:`~qkloom.rtl.index.list.list_layout`: rows
        ascending, one head after the other. Entries ascend, and none of row r is above r.
    o : Out(stream)
        :func:`use_layout`: for each window, ascending, the KV blocks that it uses, ascending, and
        its end.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, heads: int, window: int) -> None:
        shape = use_layout(**self.parameters)
        self._blocks, self._window = blocks, window
        super().__init__(
            {
                "call": In(stream.Signature(uses_call(blocks=blocks, heads=heads))),
                "i": In(stream.Signature(list_layout(blocks))),
                "o": Out(stream.Signature(shape)),
            }
        )

    @property
    def depth(self) -> int:
        """Words of the triangle, one for each block of each window."""
        ends = range(self._window, self._blocks + self._window, self._window)
        return sum(min(end, self._blocks) for end in ends)

    def elaborate(self, platform: object) -> Module:
        """Decide what is looked at; a cycle later it is read, and written back in the next."""
        m = Module()
        blocks, window = self._blocks, self._window
        use = self.o.payload.shape()
        n_windows = -(-blocks // window)
        address = Signal(range(max(self.depth, 2)), init=self.depth - 1)
        block = Signal(range(max(blocks, 2)))
        number = Signal.like(self.o.payload.next)  # of the window
        stride = Signal(range(n_windows * window + 1))  # the block behind the window
        last = Signal.like(block, reset_less=True)
        last_number = Signal.like(number, reset_less=True)
        is_last = Signal()
        top = Signal.like(block, reset_less=True)  # of the window

        # Which word is next, and what becomes of it.
        kinds = ("adds", "clears", "backs", "tells", "ends")
        now, soon, then = (
            {kind: Signal(name=f"{kind}_{stage}") for kind in kinds} for stage in range(3)
        )
        for kind in kinds:
            m.d.sync += [soon[kind].eq(now[kind]), then[kind].eq(soon[kind])]
        place, block_1, number_1, is_last_1 = (
            Signal.like(x, name=f"{x.name}_1", reset_less=True)
            for x in (address, block, number, is_last)
        )
        place_2, block_2, number_2, is_last_2 = (
            Signal.like(x, name=f"{x.name}_2", reset_less=True)
            for x in (address, block, number, is_last)
        )
        m.d.sync += [block_1.eq(block), number_1.eq(number), is_last_1.eq(is_last)]
        m.d.sync += [place_2.eq(place), block_2.eq(block_1)]
        m.d.sync += [number_2.eq(number_1), is_last_2.eq(is_last_1)]

        i, call = self.i.payload, self.call.payload
        n, heads = Signal.like(call.n), Signal.like(call.heads)
        base = Signal.like(address)
        at = Signal(range(window))  # row in its window
        is_added = Signal()
        item = Signal()
        ends = Signal()
        has_room = Signal()
        m.d.comb += [item.eq(self.i.valid & self.i.ready), ends.eq(item & i.end)]
        row = count_to(m, n, moves=ends, name="row")
        head = count_to(m, heads, moves=ends & row.is_last, name="head")
        # With the last row's end it is where the sweep begins.
        with m.If(self.i.ready):
            m.d.sync += place.eq(base + Mux(i.end, last, i.block))
        with m.Else():
            m.d.sync += place.eq(address)
        m.d.comb += is_added.eq(ends & row.is_last & head.is_last)

        with m.FSM(init="clear"):
            with m.State("clear"):
                m.d.comb += now["clears"].eq(1)
                m.d.sync += address.eq(address - 1)
                with m.If(address == 0):
                    m.next = "idle"
            with m.State("idle"):
                m.d.comb += self.call.ready.eq(1)
                m.d.sync += [
                    n.eq(call.n),
                    heads.eq(call.heads),
                    last.eq(call.n - 1),
                    base.eq(0),
                    number.eq(0),
                    stride.eq(window),
                    at.eq(0),
                    is_last.eq(1),
                ]
                with m.If(self.call.valid):
                    m.next = "add"
            with m.State("add"):
                m.d.comb += [self.i.ready.eq(1), now["adds"].eq(self.i.valid & ~i.end)]
                with m.If(ends):
                    m.d.sync += at.eq(at + 1)
                    with m.If(row.is_last):
                        m.d.sync += at.eq(0)
                        with m.If(~head.is_last):
                            m.d.sync += [base.eq(0), number.eq(0), stride.eq(window)]
                    with m.Elif(at == window - 1):
                        m.d.sync += [
                            at.eq(0),
                            base.eq(base + stride),
                            number.eq(number + 1),
                            stride.eq(stride + window),
                        ]
                with m.If(is_added):
                    m.next = "turn"
            with m.State("turn"):
                m.d.sync += [address.eq(place), block.eq(last), last_number.eq(number)]
                m.next = "back"
            with m.State("back"):
                m.d.comb += now["backs"].eq(1)
                m.d.sync += [address.eq(address - 1), block.eq(block - 1)]
                with m.If(block == 0):
                    m.next = "back over"
            # Between two windows a cycle is lost, so that no block is read before it is written.
            with m.State("back over"):
                m.d.sync += is_last.eq(0)
                with m.If(number == 0):
                    m.d.sync += address.eq(0)
                    m.next = "begin"
                with m.Else():
                    m.d.sync += [
                        number.eq(number - 1),
                        stride.eq(stride - window),
                        block.eq(stride - window - 1),
                    ]
                    m.next = "back"
            with m.State("begin"):
                m.d.sync += [block.eq(0), top.eq(Mux(number == last_number, last, stride - 1))]
                m.next = "tell"
            with m.State("tell"):
                m.d.comb += now["tells"].eq(has_room)
                with m.If(has_room):
                    m.d.sync += [address.eq(address + 1), block.eq(block + 1)]
                    with m.If(block == top):
                        m.next = "end"
            with m.State("end"):
                m.d.comb += now["ends"].eq(has_room)
                with m.If(has_room):
                    m.d.sync += [number.eq(number + 1), stride.eq(stride + window)]
                    m.next = "begin"
                    with m.If(number == last_number):
                        m.next = "idle"

        link = data.StructLayout({"next": use["next"].shape, "again": 1})
        state = data.StructLayout({"left": use["left"].shape, "link": link})
        m.submodules.jobs = jobs = Memory(shape=use["jobs"].shape, depth=self.depth, init=[])
        m.submodules.next = later = Memory(shape=link, depth=self.depth, init=[])
        m.submodules.live = live = Memory(shape=state, depth=blocks, init=[])
        r_jobs, w_jobs = jobs.read_port(), jobs.write_port()
        r_next, w_next = later.read_port(), later.write_port()
        r_live, w_live = live.read_port(), live.write_port()
        old = Signal(state)
        is_used = Signal()
        m.d.comb += [
            r_jobs.addr.eq(place),
            w_jobs.addr.eq(place_2),
            w_jobs.en.eq(then["adds"] | then["clears"] | then["tells"]),
            w_jobs.data.eq(Mux(then["adds"], r_jobs.data + 1, 0)),
            is_used.eq(r_jobs.data.any()),
            r_next.addr.eq(place),
            w_next.addr.eq(place_2),
            w_next.en.eq(then["backs"]),
            w_next.data.eq(old.link),
            r_live.addr.eq(block_1),
            w_live.addr.eq(block_2),
            w_live.en.eq(then["backs"] | then["tells"]),
            w_live.data.left.eq(
                Mux(then["tells"], old.left - r_jobs.data, old.left + r_jobs.data)
            ),
            w_live.data.link.eq(old.link),
        ]
        # In the last window nothing is known yet of any block.
        with m.If(~is_last_2):
            m.d.comb += old.eq(r_live.data)
        with m.If(is_used):
            m.d.comb += [w_live.data.link.next.eq(number_2), w_live.data.link.again.eq(1)]

        m.submodules.queue = queue = Queue(shape=use, depth=_DEPTH)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        o = queue.i.payload
        m.d.comb += [
            # Two may be on their way.
            has_room.eq(queue.level <= _DEPTH - 3),
            queue.i.valid.eq((then["tells"] & is_used) | then["ends"]),
            o.end.eq(then["ends"]),
        ]
        with m.If(~then["ends"]):
            m.d.comb += [
                o.block.eq(block_2),
                o.left.eq(old.left),
                o.jobs.eq(r_jobs.data),
                o.next.eq(r_next.data.next),
                o.again.eq(r_next.data.again),
            ]
        return m
