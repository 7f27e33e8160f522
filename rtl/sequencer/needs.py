"""Which lanes of a round need which KV blocks."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from .call import n_blocks, needed_layout

__all__ = ["Needs", "mark_layout"]


def mark_layout(*, n_lanes: int, tokens: int, block: int, ends: bool = False) -> data.StructLayout:
    """Return the layout of a mark: whether a lane, or a place, needs a KV block.

    With ``ends``, rounds are windows, and the end of each is said.
    """
    return data.StructLayout(
        {
            "lane": index(n_lanes),
            "block": index(n_blocks(heads=1, tokens=tokens, block=block)),
            "needs": 1,  # 0: this mark changes nothing for the lane
            "ends": 1,  # last mark of the round
            **({"last": 1} if ends else {}),  # with that: of the KV head
        }
    )


class Needs(Component):
    """Turn marks, lane by lane, into the blocks that a round needs, in ascending order.

    There is room for two rounds: marks of the next one come while this one's blocks leave. A mark
    takes a cycle; a block that nobody needs takes three, any other four.

    Parameters
    ----------
    n_lanes : int
        Lanes.
    tokens, block : int
        Longest sequence; tokens of a block.
    ends : bool
        Whether the end of each round is said, as of windows.

    Members
    -------
    i : In(stream)
        :func:`mark_layout`. A lane's marks count up from block 0, and none is left out; then at
        least one other mark follows, of a block that was there.
    o : Out(stream)
        :func:`~qkloom.rtl.sequencer.call.needed_layout`: each block that a lane needs; with
        ``ends``, an end behind the last one.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, n_lanes: int, tokens: int, block: int, ends: bool = False) -> None:
        check_count("Number of lanes", n_lanes)
        self._n_lanes, self._block, self._ends = n_lanes, block, ends
        self._blocks = n_blocks(heads=1, tokens=tokens, block=block)
        super().__init__(
            {
                "i": In(stream.Signature(mark_layout(**self.parameters))),
                "o": Out(stream.Signature(needed_layout(**self.parameters))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Keep a word per block, a bit per lane; one half of the memory is a round's."""
        m = Module()
        depth = 2 << max(ceil_log2(self._blocks), 1)
        m.submodules.words = memory = Memory(shape=self._n_lanes, depth=depth, init=[])
        write = memory.write_port()
        full = Signal(2)  # halves with a whole round
        ends = [Signal(range(self._blocks + 1), name=f"ends_{k}", reset_less=True) for k in (0, 1)]
        freed = Signal(2)
        lasts = Signal(2)  # of the KV head
        marked = Signal(2)  # a cycle ago; a round has two marks at least
        m.d.sync += [full.eq((full | marked) & ~freed), marked.eq(0)]

        # A mark reads in the one cycle, and writes in the next.
        mark = self.i.payload
        half = Signal()
        # Blocks that this round has a word of: others are stale.
        known = Signal(range(self._blocks + 1))
        count = Signal.like(known)
        taken = Signal()
        old = memory.read_port()
        pending = Signal()
        address = Signal(len(write.addr), reset_less=True)
        sets = Signal(self._n_lanes, reset_less=True)
        comes_new = Signal()
        is_new = Signal(reset_less=True)
        is_same = Signal(reset_less=True)  # as the mark before, which is being written
        was = Signal(self._n_lanes, reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~full.bit_select(half, 1)),
            taken.eq(self.i.valid & self.i.ready),
            comes_new.eq(mark.block == known),
            count.eq(known + comes_new),
            old.addr.eq(Cat(mark.block, half)),
            write.addr.eq(address),
            write.en.eq(pending),
            write.data.eq(sets | Mux(is_new, 0, Mux(is_same, was, old.data))),
        ]
        m.d.sync += [
            pending.eq(taken),
            address.eq(old.addr),
            sets.eq(Mux(mark.needs, 1 << mark.lane, 0)),
            is_new.eq(comes_new),
            is_same.eq(pending & (address == old.addr)),
            was.eq(write.data),
        ]
        with m.If(taken):
            m.d.sync += known.eq(count)
            with m.If(mark.ends):
                m.d.sync += [marked.eq(Mux(half, 2, 1)), half.eq(~half), known.eq(0)]
                for k in (0, 1):
                    with m.If(half == k):
                        m.d.sync += ends[k].eq(count)
                        if self._ends:
                            m.d.sync += lasts[k].eq(mark.last)

        self._scan(m, memory, full, ends, lasts, freed)
        return m

    def _scan(
        self,
        m: Module,
        memory: Memory,
        full: Signal,
        ends: list[Signal],
        lasts: Signal,
        freed: Signal,
    ) -> None:
        """Go through the words of a round, and offer those that are not 0."""
        o = self.o.payload
        half = Signal()
        left = Signal.like(ends[0])  # words, from this one on
        at_last = Signal()
        is_needed = Signal()
        read = memory.read_port()
        m.d.comb += [read.addr.eq(Cat(o.block, half)), self.o.payload.lanes.eq(read.data)]
        m.d.sync += at_last.eq(left == 1)  # it stays for a cycle before

        def advance() -> None:
            m.d.sync += [
                o.block.eq(o.block + 1),
                o.first_key.eq(o.first_key + self._block),
                left.eq(left - 1),
            ]
            m.next = "read"
            with m.If(at_last):
                if self._ends:
                    m.d.sync += [o.ends.eq(1), o.last.eq(lasts.bit_select(half, 1))]
                m.d.comb += freed.eq(Mux(half, 2, 1))
                m.d.sync += half.eq(~half)
                m.next = "end" if self._ends else "wait"

        with m.FSM():
            with m.State("wait"):
                m.d.sync += [o.block.eq(0), o.first_key.eq(0), left.eq(Mux(half, ends[1], ends[0]))]
                with m.If(full.bit_select(half, 1)):
                    m.next = "read"
            with m.State("read"):
                m.next = "look"
            with m.State("look"):
                m.d.sync += is_needed.eq(read.data.any())
                m.next = "judge"
            with m.State("judge"):
                m.next = "offer"
                with m.If(~is_needed):
                    advance()
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    advance()
            if self._ends:
                with m.State("end"):
                    m.d.comb += self.o.valid.eq(1)
                    with m.If(self.o.ready):
                        m.d.sync += o.ends.eq(0)
                        m.next = "wait"
