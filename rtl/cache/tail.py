"""The block that grows: where tokens go, and when a full block leaves for memory."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index
from ..stream import Queue, connect_stream
from .place import check_slots, request_layout
from .step import step_layout
from .under_way import HeadsUnderWay

__all__ = ["TailBlocks", "append_layout", "token_layout"]


def append_layout(*, heads: int, blocks: int, block: int) -> data.StructLayout:
    """Return what is appended: a token of ``head``.

    With ``begins`` it is no token: the head has ``tokens`` of them from now on, and those of the
    block that is not full are in the tail's slot.
    """
    return data.StructLayout(
        {"head": index(heads), "begins": 1, "tokens": range(blocks * block + 1)}
    )


def token_layout(*, heads: int, blocks: int, block: int) -> data.StructLayout:
    """Return where a token goes: the head's last slot, which holds ``block`` now, and a row of it.

    ``full``: it is the last one of its block. After ``begins`` it is the place of the token that
    comes next. ``refused``: there is no such head, or no room for a token; nothing changes, and all
    else is 0 but ``head``.
    """
    return data.StructLayout(
        {
            "head": index(heads),
            "block": index(blocks),
            "row": index(block),
            "full": 1,
            "refused": 1,
        }
    )


class TailBlocks(Component):
    """Append tokens to the tail block of each head, and write it back when it is full.

    SparDA, runtime in decode: the tail is in the last slot, ``k - 1``, protected, since no step may
    give that slot away. After ``block`` tokens it is written back to memory, and the next token
    begins the next tail in the same slot. The full block is then one like all others: it is in
    memory only, and is loaded when a step wants it. Moving it to another slot instead would save
    one load per head in ``block`` tokens, of the dozens that steps ask for, and would need a way
    from slot to slot that nothing else does.

    ::

        append --> tokens (heads) --+--> place
                                    +--> write_back --> heads whose block is under way <-- written
        step ---------------------- waits for these ---------------------------------> o_step

    Between a write-back and its ``written`` nobody may overwrite the slot or load the block. So an
    append to such a head waits, and with it all that follow; and a step of such a head waits, as it
    could ask for the block that memory does not have yet. Others go on. ``o_step`` is for
    :class:`~qkloom.rtl.cache.slots.SlotTable`. A decode step appends a layer's token to all of its
    KV heads before attention; steps of a head come after the append before them.

    ``write_back`` is offered after ``place`` of the last token is taken: whoever takes both writes
    the token first. Attention may read the full tail from its slot until the next token of the
    head.

    An append takes 4 cycles, with a write-back 5. A step takes 1 cycle of latency, one a cycle.
    Memory: ``heads`` counts of tokens, 18 bits each for 131,072 tokens; after a reset these are 0,
    in a cycle for each. Heads under way are in registers.

    Parameters
    ----------
    heads, blocks, k : int
        As of the table.
    block : int
        Tokens of a block; a power of two.
    in_flight : int
        Most write-backs under way; then full blocks wait.

    Members
    -------
    append : In(stream)
        Tokens: :func:`append_layout`.
    place : Out(stream)
        Where each one goes: :func:`token_layout`.
    write_back : Out(stream)
        Blocks that are full: :func:`~qkloom.rtl.cache.place.request_layout`.
    written : In(stream)
        A write-back is in memory, an item for each, in their order; it says nothing else (1 bit).
    step, o_step : In(stream), Out(stream)
        Steps, :func:`~qkloom.rtl.cache.step.step_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, ``k`` is 1, or ``block`` no power of two.
    """

    def __init__(
        self, *, heads: int, blocks: int, k: int, block: int = 64, in_flight: int = 4
    ) -> None:
        check_slots(heads=heads, blocks=blocks, k=k)
        check_count("Write-backs under way", in_flight)
        if check_count("Tokens of a block", block) & block - 1:
            raise ValueError(f"Tokens of a block must be a power of two, not {block!r}")
        self._heads, self._blocks, self._k, self._block = heads, blocks, k, block
        self._in_flight = in_flight
        sizes = {"heads": heads, "blocks": blocks, "block": block}
        step = stream.Signature(step_layout(heads=heads, blocks=blocks))
        request = request_layout(heads=heads, blocks=blocks, k=k)
        super().__init__(
            {
                "append": In(stream.Signature(append_layout(**sizes))),
                "place": Out(stream.Signature(token_layout(**sizes))),
                "write_back": Out(stream.Signature(request)),
                "written": In(stream.Signature(1)),
                "step": In(step),
                "o_step": Out(step),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count tokens, one append after the other; let steps pass beside."""
        m = Module()
        row_bits = (self._block - 1).bit_length()
        most = self._blocks * self._block
        m.submodules.tokens = tokens = Memory(shape=range(most + 1), depth=self._heads, init=[])
        write, read = tokens.write_port(), tokens.read_port()
        m.submodules.under_way = under_way = HeadsUnderWay(
            heads=self._heads, depth=self._in_flight, askers=2
        )
        connect_stream(m, wiring.flipped(self.written), under_way.written)

        append = Signal(self.append.payload.shape(), reset_less=True)
        place = Signal(self.place.payload.shape(), reset_less=True)
        n = Signal(range(most + 1))
        is_refused = Signal()
        is_full = Signal()
        m.d.comb += [
            under_way.head.eq(append.head),
            under_way.asked[0].eq(append.head),
            read.addr.eq(append.head),
            write.addr.eq(append.head),
            write.data.eq(n + ~append.begins),
            n.eq(Mux(append.begins, append.tokens, read.data)),
            is_refused.eq((append.head >= self._heads) | (n >= most)),
            is_full.eq(~append.begins & (n[:row_bits] == self._block - 1)),
            self.place.payload.eq(place),
            self.write_back.payload.head.eq(append.head),
            self.write_back.payload.block.eq(place.block),
            self.write_back.payload.slot.eq(self._k - 1),
        ]
        is_busy = Signal()
        count = Signal(range(self._heads + 1))
        with m.FSM() as states:
            with m.State("sweep"):
                m.d.comb += [
                    write.en.eq(1),
                    write.addr.eq(count[: len(write.addr)]),
                    write.data.eq(0),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(count == self._heads - 1):
                    m.next = "take"
            with m.State("take"):
                m.d.comb += self.append.ready.eq(1)
                m.d.sync += append.eq(self.append.payload)
                with m.If(self.append.valid):
                    m.next = "read"
            with m.State("read"):
                m.next = "decide"
            with m.State("decide"):
                m.d.sync += [place.eq(0), place.head.eq(append.head), place.refused.eq(is_refused)]
                with m.If(is_refused):
                    m.next = "place"
                with m.Elif(~under_way.is_under_way[0] & (under_way.has_room | ~is_full)):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += [
                        place.block.eq(n[row_bits : row_bits + len(place.block)]),
                        place.row.eq(n[:row_bits]),
                        place.full.eq(is_full),
                    ]
                    m.next = "place"
            with m.State("place"):
                m.d.comb += self.place.valid.eq(1)
                with m.If(self.place.ready):
                    m.next = "take"
                    with m.If(place.full):
                        m.next = "write back"
            with m.State("write back"):
                m.d.comb += [self.write_back.valid.eq(1), under_way.put.eq(self.write_back.ready)]
                with m.If(self.write_back.ready):
                    m.next = "take"
        m.d.comb += is_busy.eq(~(states.ongoing("sweep") | states.ongoing("take")))

        # A step that has been offered stays, whatever is appended then.
        m.submodules.steps = steps = Queue(shape=self.step.payload.shape(), depth=2)
        connect_stream(m, wiring.flipped(self.step), steps.i)
        early = steps.o.payload
        waits = Signal()
        is_offered = Signal()
        m.d.comb += [
            under_way.asked[1].eq(early.head),
            waits.eq(under_way.is_under_way[1] | (is_busy & (early.head == append.head))),
            self.o_step.payload.eq(early),
            self.o_step.valid.eq(steps.o.valid & (is_offered | ~waits)),
            steps.o.ready.eq(self.o_step.valid & self.o_step.ready),
        ]
        m.d.sync += is_offered.eq(self.o_step.valid & ~self.o_step.ready)
        return m
