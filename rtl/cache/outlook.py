"""What is still to come of each KV block: its jobs left, and the window that needs it next."""

from typing import ClassVar

from amaranth.hdl import Cat, Module, Mux, Signal, ValueLike
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from .visit import visit_layout

__all__ = ["Outlook", "use_layout"]

_WORD = 32
"""Windows whose bits are looked at together."""


def use_layout(*, blocks: int, jobs: int) -> data.StructLayout:
    """Return the layout of a KV block's use in a window, ``jobs`` of it; or of the window's end.

    With ``ends`` it has no block, and of a head's last window ``last`` is set, too.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """
    check_count("Blocks", blocks)
    check_count("Jobs", jobs)
    return data.StructLayout(
        {"block": index(blocks), "jobs": range(jobs + 1), "ends": 1, "last": 1}
    )


class Outlook(Component):
    """Count what is to come of the KV blocks of a head, then tell with each visit what is left.

    ::

        i (all uses of a head, ahead) --+--> left: jobs of each block ------+
                                        +--> bits: windows of each block ---+--> o
        visits (the same uses, in their turn) ------------------------------+

    Jobs left are a block's liveness (FAST-Prefill, Sparse Attention Unit): at 0 nobody needs it.
    There are two banks: uses of a head are counted while visits of the head before are told. What a
    visit takes off is as much as its use has added, so that a head leaves zeros behind.

    A use takes 3 cycles, and a block's first one as many more as it has words of 32 windows, which
    are cleared then: what a call left behind that was broken off does not count. A visit takes 5,
    and one more for each 32 windows up to the next one with the block. After a reset the jobs left
    are cleared, a block a cycle.

    Parameters
    ----------
    blocks, heads : int
        Most KV blocks of a head, and KV heads of a call.
    windows : int
        Windows of a head that are told apart: a bit each, for each block. Of a block that is needed
        later only it is known that it is: ``next`` is ``windows`` then.
    jobs : int
        Most jobs of a block in a window.
    uses : int
        Most jobs of a block in a call.

    Members
    -------
    i : In(stream)
        Uses of all windows of a head, and its end; then those of the next one: :func:`use_layout`.
    visits : In(stream)
        The same again; of a head, when its end has been taken at ``i``.
    threshold : In
        A block with more jobs left than that, with those of the visit, is hot.
    o : Out(stream)
        :func:`~qkloom.rtl.cache.visit.visit_layout`; windows count from each head's first.
    wrong : Out(2)
        Stays until the next reset. Bit 0: a visit had more jobs than its block has left; bit 1: at
        a head's end there were jobs left.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(self, *, blocks: int, heads: int, windows: int, jobs: int, uses: int) -> None:
        for name, value in {"Heads": heads, "Windows": windows, "Uses": uses}.items():
            check_count(name, value)
        use = use_layout(blocks=blocks, jobs=jobs)
        self._windows, self._uses = windows, uses
        self._block_bits = ceil_log2(max(blocks, 2))
        self._word_bits = ceil_log2(-(-windows // _WORD))
        self._n_uses = blocks * uses
        super().__init__(
            {
                "i": In(stream.Signature(use)),
                "visits": In(stream.Signature(use)),
                "threshold": In(range(uses + 1)),
                "o": Out(
                    stream.Signature(visit_layout(blocks=blocks, heads=heads, windows=windows))
                ),
                "wrong": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take turns: visits first, since uses are ahead of them."""
        m = Module()
        visit, told = self.visits.payload, self.o.payload
        number_shape = range(self._windows + 1)
        # By side: of what is counted, and of what is told.
        counted = Signal(number_shape)  # window; the last number stays
        now = Signal(number_shape)
        bank = Signal()  # that is counted
        n_heads = Signal(range(3))  # whose uses are all there
        goes_in, goes_out = Signal(), Signal()
        m.d.sync += n_heads.eq(n_heads + goes_in - goes_out)
        total = [Signal(range(self._n_uses + 1), name=f"total_{k}") for k in (0, 1)]

        tells = Signal()  # else it counts
        use = Signal(visit.shape())
        window = Signal(number_shape)
        side = Signal()
        m.d.comb += [
            use.eq(Mux(tells, visit, self.i.payload)),
            window.eq(Mux(tells, now, counted)),
            side.eq(Mux(tells, bank ^ n_heads[0], bank)),
        ]

        left_shape = range(self._uses + 1)
        address = Signal(self._block_bits + 1)
        m.submodules.left = left = Memory(shape=left_shape, depth=2 << self._block_bits, init=[])
        m.submodules.bits = bits = Memory(
            shape=_WORD, depth=2 << self._block_bits + self._word_bits, init=[]
        )
        w_left, r_left = left.write_port(), left.read_port()
        w_bits, r_bits = bits.write_port(), bits.read_port()
        word = Signal(max(self._word_bits, 1))  # of the block's bits
        own = Signal.like(word)  # with the window's bit
        m.d.comb += [
            address.eq(Cat(use.block[: self._block_bits], side)),
            own.eq(window >> ceil_log2(_WORD)),
            r_left.addr.eq(address),
            w_left.addr.eq(address),
            r_bits.addr.eq(Cat(word[: self._word_bits], address)),
            w_bits.addr.eq(Cat(own[: self._word_bits], address)),
        ]
        is_known = Signal()  # the window has a bit
        bit = Signal(_WORD)
        m.d.comb += [
            is_known.eq(window != self._windows),
            bit.eq(1 << window[: ceil_log2(_WORD)]),
        ]

        def end_window(number: Signal) -> None:
            m.d.sync += number.eq(Mux(use.last, 0, Mux(is_known, number + 1, number)))

        def add_to_total(change: ValueLike) -> None:
            for k in (0, 1):
                with m.If(side == k):
                    m.d.sync += total[k].eq(total[k] + change)

        found = Signal(_WORD)  # windows behind this one, in the word
        is_first_word = Signal()
        at_last_word = Signal()
        m.d.comb += [
            is_first_word.eq(word == own),
            at_last_word.eq(word == -(-self._windows // _WORD) - 1),
            # Behind a bit: all that are above it.
            found.eq(r_bits.data & Mux(is_first_word, ~(bit | (bit - 1)), -1)),
        ]
        after = Signal.like(r_left.data)
        m.d.comb += after.eq(r_left.data - use.jobs)
        place = Signal(range(_WORD))
        for k in reversed(range(_WORD)):
            with m.If(found[k]):
                m.d.comb += place.eq(k)

        cleared = Signal(range((2 << self._block_bits) + 1))
        with m.FSM(init="clear"):
            with m.State("clear"):
                m.d.comb += [
                    w_left.addr.eq(cleared),
                    w_left.en.eq(1),
                ]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == (2 << self._block_bits) - 1):
                    m.next = "rest"
            with m.State("rest"):
                has_visit = self.visits.valid & n_heads.any()
                m.d.sync += tells.eq(has_visit)
                with m.If(has_visit | (self.i.valid & (n_heads != 2))):
                    m.next = "read"
            with m.State("read"):
                m.d.sync += word.eq(own)
                m.d.comb += r_bits.addr.eq(Cat(own[: self._word_bits], address))
                m.next = "tell"
                with m.If(~tells):
                    m.next = "count"
            with m.State("count"):
                is_new = ~use.ends & (r_left.data == 0)
                m.d.sync += word.eq(0)
                m.d.comb += self.i.ready.eq(~is_new)
                m.next = "rest"
                with m.If(use.ends):
                    end_window(counted)
                    m.d.comb += goes_in.eq(use.last)
                    m.d.sync += bank.eq(bank ^ use.last)
                with m.Elif(is_new):
                    m.next = "first use"
                with m.Else():
                    m.d.comb += [
                        w_left.en.eq(1),
                        w_left.data.eq(r_left.data + use.jobs),
                        w_bits.en.eq(is_known),
                        w_bits.data.eq(r_bits.data | bit),
                    ]
                    add_to_total(use.jobs)
            with m.State("first use"):
                m.d.comb += [
                    w_left.en.eq(1),
                    w_left.data.eq(use.jobs),
                    w_bits.addr.eq(Cat(word[: self._word_bits], address)),
                    w_bits.en.eq(1),
                    w_bits.data.eq(Mux(is_first_word & is_known, bit, 0)),
                ]
                m.d.sync += word.eq(word + 1)
                with m.If(at_last_word):
                    m.d.comb += self.i.ready.eq(1)
                    add_to_total(use.jobs)
                    m.next = "rest"
            with m.State("tell"):
                with m.If(use.ends):
                    m.d.comb += self.visits.ready.eq(1)
                    end_window(now)
                    m.d.comb += goes_out.eq(use.last)
                    with m.If(use.last):
                        m.d.sync += told.head.eq(told.head + 1)
                        with m.If(Mux(side, total[1], total[0]).any()):
                            m.d.sync += self.wrong[1].eq(1)
                    m.next = "rest"
                with m.Else():
                    with m.If(use.jobs > r_left.data):
                        m.d.sync += self.wrong[0].eq(1)
                    m.d.comb += [
                        w_left.en.eq(1),
                        w_left.data.eq(after),
                        w_bits.en.eq(is_known),
                        w_bits.data.eq(r_bits.data & ~bit),
                    ]
                    add_to_total(-use.jobs)
                    m.d.sync += [
                        told.block.eq(use.block),
                        told.dead.eq(after == 0),
                        told.hot.eq(r_left.data > self.threshold),
                    ]
                    m.next = "look"
            with m.State("look"):  # the word is there again, or the next one
                m.d.sync += told.next.eq(Cat(place, word))
                m.d.comb += r_bits.addr.eq(Cat((word + 1)[: self._word_bits], address))
                with m.If(told.dead):
                    m.d.sync += told.next.eq(0)
                    m.next = "offer"
                with m.Elif(found.any()):
                    m.next = "offer"
                with m.Elif(at_last_word):
                    m.d.sync += told.next.eq(self._windows)
                    m.next = "offer"
                with m.Else():
                    m.d.sync += word.eq(word + 1)
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += self.visits.ready.eq(1)
                    m.next = "rest"
        return m
