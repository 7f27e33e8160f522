"""Proofs of shares: each request and each answer is its manager's, and no beat is lost."""

import pytest
from amaranth.hdl import Array, Assert, Assume, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4Read, AXI4Write, ReadShare, WriteShare
from qkloom.rtl.axi.signature import address_layout
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness

N, MOST = 3, 3
"""Managers, and most bursts of each without an answer."""

WIDTHS = {"address_width": 12, "data_width": 8}
REQUEST = address_layout(**WIDTHS, id_width=2)


class ShareClaims(Component):
    """What is claimed of requests, and of whose answers come back."""

    INNER = {
        "valid": ("dut.request.valid", 1),
        "is_free": ("dut.request.is_free", 1),
        "head": ("dut.request.head", REQUEST),
        "stored": ("dut.request.stored", REQUEST),
        "chosen": ("dut.merge.merge.chosen", N),
    }

    def __init__(self, *, half, inner):
        self.peek = {name: path for name, (path, _) in inner.items()}
        super().__init__(
            {
                "manager": In(half(**WIDTHS)).array(N),
                "bus": Out(half(**WIDTHS, id_width=2)),
                "pick": In(1),
                "who": In(range(N)),
                "over": Out(1),
                **{name: In(shape) for name, (_, shape) in inner.items()},
            }
        )

    def connect(self, m, dut):
        """Connect all channels; those who drive them keep the rules."""
        wiring.connect(m, dut.bus, wiring.flipped(self.bus))
        for k in range(N):
            for name, member in dut.signature.members["manager"].signature.members.items():
                outer, inner = (getattr(x.manager[k], name) for x in (self, dut))
                if member.flow == Out:
                    connect_stream(m, wiring.flipped(outer), inner)
                    obey(m, Assume, inner, f"manager_{k}_{name}")
                else:
                    connect_stream(m, inner, wiring.flipped(outer))

    def claim(self, m, dut, requests, answers, *, is_last, gone):
        """Claim both for the channels of these names; ``gone``: the oldest is on the bus."""
        request, answer = (getattr(dut.bus, name) for name in (requests, answers))
        obey(m, Assert, request, "request")
        obey(m, Assume, answer, "answer")
        inside = Signal(2)
        takes = Signal()
        leaves = Signal()
        m.d.comb += [
            inside.eq(self.valid + ~self.is_free),
            leaves.eq(request.valid & request.ready),
            Assert(self.is_free | self.valid),
            Assert((self.chosen != 0) & ((self.chosen & (self.chosen - 1)) == 0)),
            Assert(~gone | self.valid),
            Assert(~self.valid | (self.head.id < N)),
            Assert(self.is_free | (self.stored.id < N)),
            takes.eq(sum(_moves(getattr(x, requests)) for x in dut.manager)),
        ]

        ends = answer.valid & answer.ready & is_last
        theirs = []
        owed = []  # to each manager, by the bus
        for k, manager in enumerate(dut.manager):
            mine, back = getattr(manager, requests), getattr(manager, answers)
            asked = Signal(range(MOST + 2), name=f"asked_{k}")
            on_bus = Signal(range(MOST + 2), name=f"on_bus_{k}")
            of_me = Signal(name=f"answer_of_{k}")
            in_slice = (self.valid & ~gone & (self.head.id == k)) + (
                ~self.is_free & (self.stored.id == k)
            )
            m.d.comb += [
                of_me.eq(answer.payload.id == k),
                Assume(~mine.valid | (asked < MOST)),
                Assert(asked <= MOST),
                Assert(asked == on_bus + in_slice),
                Assert(back.valid == (answer.valid & of_me)),
            ]
            with m.If(back.valid):
                m.d.comb += Assert((asked != 0) & (back.payload.id == 0))
                for name in back.payload.shape().members:
                    if name != "id":
                        same = Value.cast(back.payload[name]) == Value.cast(answer.payload[name])
                        m.d.comb += Assert(same)
            m.d.sync += [
                asked.eq(asked + _moves(mine) - (ends & of_me)),
                on_bus.eq(on_bus + (leaves & (request.payload.id == k)) - (ends & of_me)),
            ]
            theirs.append(back.valid)
            owed.append(on_bus)
        with m.If(answer.valid):
            m.d.comb += [
                Assume(answer.payload.id < N),
                Assume(Array([*owed, 0])[answer.payload.id] != 0),
                Assert(sum(theirs) == 1),
            ]
        self.follow(m, dut, requests, inside, gone)

    def follow(self, m, dut, requests, inside, gone):
        """Follow a request of any manager to the bus: it comes with its number, in its order."""
        request = getattr(dut.bus, requests)
        active = Signal()
        behind = Signal()  # another one
        item = Signal(REQUEST)
        drops = Signal()  # the oldest leaves the slice
        m.d.comb += drops.eq(self.drops(request, dut))
        for k, manager in enumerate(dut.manager):
            mine = getattr(manager, requests)
            with m.If(_moves(mine) & self.pick & (self.who == k) & ~active):
                m.d.sync += [active.eq(1), behind.eq(inside - drops != 0), item.id.eq(k)]
                for name in ("addr", "len", "size", "burst"):
                    m.d.sync += Value.cast(item[name]).eq(Value.cast(mine.payload[name]))
        with m.If(active):
            place = Mux(behind, self.stored.as_value(), self.head.as_value())
            m.d.comb += [
                Assert(inside > behind),
                Assert(place == item.as_value()),
                self.over.eq(~behind & drops & (item.id == N - 1)),
            ]
            with m.If(~behind & ~gone):
                m.d.comb += Assert(request.valid & (request.payload.as_value() == item.as_value()))
            with m.If(drops):
                m.d.sync += [behind.eq(0), active.eq(behind)]


class ReadClaims(ShareClaims):
    def __init__(self):
        super().__init__(half=AXI4Read, inner=self.INNER)

    def drops(self, request, dut):
        return _moves(request)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = ReadShare(n=N, **WIDTHS)
        self.connect(m, dut)
        self.claim(m, dut, "ar", "r", is_last=dut.bus.r.payload.last, gone=Const(0))
        return m


class WriteClaims(ShareClaims):
    """Of W too: beats are the next burst's, and the queue has room for each of them."""

    DEPTH = 8

    def __init__(self):
        inner = {
            "taken": ("dut.fork.group_0.taken", 2),
            "order_valid": ("dut.order.valid", 1),
            "order_is_free": ("dut.order.is_free", 1),
            "order_head": ("dut.order.head", N),
            "order_stored": ("dut.order.stored", N),
            "may_step": ("dut.has_room", 1),
            "has_step": ("dut.has_step", 1),
            "level": ("dut.beats.level", range(self.DEPTH + 1)),
            "has_some": ("dut.beats.has_some", 1),
            "has_room": ("dut.beats.has_room", 1),
            "first": ("dut.beats.head", range(self.DEPTH)),
            "last": ("dut.beats.tail", range(self.DEPTH)),
        }
        super().__init__(half=AXI4Write, inner=self.INNER | inner)

    def drops(self, request, dut):
        is_told = self.taken[1] | self.order_is_free
        return self.valid & (self.taken[0] | request.ready) & is_told

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = WriteShare(n=N, **WIDTHS)
        self.connect(m, dut)
        self.claim(m, dut, "aw", "b", is_last=1, gone=self.taken[0])
        self.claim_beats(m, dut)
        return m

    def claim_beats(self, m, dut):
        obey(m, Assert, dut.bus.w, "w")
        m.d.comb += [
            Assert(~self.taken.any() | self.valid),
            Assert(~self.taken.all()),
            Assert(self.order_is_free | self.order_valid),
            # No step without room, and what comes behind one finds room too.
            Assert(~self.has_step | self.has_room),
            Assert(~self.may_step | (self.level + self.has_step < self.DEPTH)),
            # Proven of the queue itself
            Assert(self.level <= self.DEPTH),
            Assert(self.has_some == (self.level != 0)),
            Assert(self.has_room == (self.level != self.DEPTH)),
            Assert(self.last == (self.first + self.level)[: len(self.last)]),
        ]
        # Requests whose data are still to come, by manager: those that W is told of, and that AW
        # has had, are the same but for the one that only one of both has taken.
        for k, manager in enumerate(dut.manager):
            ahead = Signal(signed(4), name=f"ahead_{k}")  # requests on AW before their last beat
            ends = _moves(manager.w) & manager.w.payload.last
            asks = _moves(dut.bus.aw) & (dut.bus.aw.payload.id == k)
            m.d.sync += ahead.eq(ahead + asks - ends)
            told = (self.order_valid & self.order_head[k]) + (
                ~self.order_is_free & self.order_stored[k]
            )
            is_mine = self.valid & (self.head.id == k)
            m.d.comb += Assert(
                ahead == told + (is_mine & self.taken[0]) - (is_mine & self.taken[1])
            )
            with m.If(manager.w.ready):
                m.d.comb += Assert(self.order_valid & (self.order_head == 1 << k))
        for there, order in (
            (self.order_valid, self.order_head),
            (~self.order_is_free, self.order_stored),
        ):
            with m.If(there):
                m.d.comb += Assert((order != 0) & ((order & (order - 1)) == 0))


def _moves(channel):
    return channel.valid & channel.ready


@pytest.mark.parametrize("claims", [ReadClaims, WriteClaims])
def test_proof(require, claims):
    require("yosys")
    wrapper = claims()
    design = emit(wrapper, name="claims")
    prove(design, depth=4, peek=wrapper.peek)
    assert witness(design, "over", depth=8) > 2
