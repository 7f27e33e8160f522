"""Proofs of the managers on any bus that keeps the rules.

The bus that reads are proven on may even mix up lengths: of ``n`` bursts with ``k`` beats in all,
any ``n`` of the beats are the last ones of theirs, but for the very last. So the proof follows no
burst, and covers more than AXI allows.
"""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.axi import (
    AXI4Read,
    AXI4Write,
    ReadManager,
    Response,
    WriteManager,
    beat_layout,
    command_layout,
    data_layout,
)
from qkloom.rtl.axi.burst import burst_layout
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness

BURST, AHEAD, OUTSTANDING, LONGEST = 4, 6, 3, 7
WIDTHS = {"address_width": 12, "data_width": 8}
PARAMETERS = {
    **WIDTHS,
    "longest": LONGEST,
    "burst": BURST,
    "ahead": AHEAD,
    "outstanding": OUTSTANDING,
}
COMMAND = command_layout(address_width=12, beats=LONGEST)
TAKE, MEASURE, OFFER = range(3)

INNER = {
    "state": ("dut.splitter.fsm_state", 2),
    "offset": ("dut.splitter.offset", 2),
    "final": ("dut.splitter.final", 2),
    "blocks": ("dut.splitter.blocks", 2),
    "piece": ("dut.splitter.o__payload", burst_layout(address_width=12).size),
    "held": ("dut.gate.held", 3),
    "fits": ("dut.gate.fits", 1),
    "request_is_free": ("dut.request.is_free", 1),
    "ends_level": ("dut.ends.level", 2),
    "ends_has_some": ("dut.ends.has_some", 1),
    "ends_has_room": ("dut.ends.has_room", 1),
    "buffer_level": ("dut.buffer.level", 3),
    "buffer_has_some": ("dut.buffer.has_some", 1),
    "buffer_has_room": ("dut.buffer.has_room", 1),
}
OF_READS = {"came": ("dut.came", 1), "came_last": ("dut.last", 1)}
OF_WRITES = {
    "head": ("dut.buffer.head", 3),
    "tail": ("dut.buffer.tail", 3),
    "lengths_level": ("dut.lengths.level", 2),
    "lengths_valid": ("dut.lengths.slice.valid", 1),
    "lengths_is_free": ("dut.lengths.slice.is_free", 1),
    "lengths_has_some": ("dut.lengths.has_some", 1),
    "lengths_has_room": ("dut.lengths.has_room", 1),
    "length": ("dut.lengths.slice.head", 9),
    "next_length": ("dut.lengths.slice.stored", 9),
    "beat": ("dut.beat", 9),
    "beat_is_first": ("dut.beat_is_first", 1),
    "beat_ahead": ("dut.beat_ahead", 9),
    "next_beat_is_last": ("dut.next_beat_is_last", 1),
}


class Claims(Component):
    """What is claimed of both managers."""

    def __init__(self, *, ports, inner):
        self.peek = {name: path for name, (path, _) in inner.items()}
        peeked = {name: In(width) for name, (_, width) in inner.items()}
        common = {"i": In(stream.Signature(COMMAND)), "halt": In(1), "over": Out(1)}
        super().__init__({**common, **ports, **peeked})

    def claim_requests(self, m, dut, address):
        """Claim what is said of AR or AW; return the beats of the one on offer, else 0."""
        connect_stream(m, wiring.flipped(self.i), dut.i)
        m.d.comb += dut.halt.eq(self.halt)
        obey(m, Assume, self.i, "i")
        command = self.i.payload
        m.d.comb += Assume((command.beats != 0) & (command.beats <= LONGEST))

        obey(m, Assert, address, "address")
        payload = address.payload
        beats = Signal(9)
        m.d.comb += [
            beats.eq(Mux(address.valid, payload.len + 1, 0)),
            Assert(self.request_is_free == ~address.valid),
        ]
        with m.If(address.valid):
            # A burst stays in its block of four beats, and so in its page.
            m.d.comb += Assert(payload.addr[:2] + beats <= BURST)
            m.d.comb += Assert((payload.size == 0) & (payload.burst.as_value() == 1))

        # Two cycles into a halt nothing new is asked for.
        halts = Signal(2)
        was_valid = Signal()
        m.d.sync += [halts.eq(halts << 1 | self.halt), was_valid.eq(address.valid)]
        with m.If(halts.all() & ~was_valid):
            m.d.comb += Assert(~address.valid)

        self.claim_inner(m)
        # Idle means that nothing is inside, and nothing owed.
        asked_for = Signal(2)
        m.d.comb += self.over.eq(dut.idle & (asked_for == 2))
        with m.If(address.valid & address.ready & (asked_for != 2)):
            m.d.sync += asked_for.eq(asked_for + 1)
        with m.If(dut.idle):
            m.d.comb += [
                Assert(self.state == TAKE),
                Assert(~address.valid),
                Assert((self.buffer_level == 0) & (self.ends_level == 0)),
            ]
        return beats

    def claim_inner(self, m):
        piece = burst_layout(address_width=12)(self.piece)
        n = Signal(9)
        m.d.comb += [n.eq(piece.len + 1), Assert(self.state <= OFFER)]
        with m.If((self.state == MEASURE) & (self.blocks == 0)):
            m.d.comb += Assert(self.final >= self.offset)
        with m.If(self.state == OFFER):
            m.d.comb += Assert(self.offset + n <= BURST)
        with m.If(self.fits):
            m.d.comb += [
                Assert((self.state == OFFER) & (self.held >= n)),
                Assert(self.request_is_free & self.ends_has_room),
            ]
        depths = {"ends": OUTSTANDING, "buffer": AHEAD}
        for queue, depth in depths.items():
            level = getattr(self, f"{queue}_level")
            m.d.comb += [
                Assert(level <= depth),
                Assert(getattr(self, f"{queue}_has_some") == (level != 0)),
                Assert(getattr(self, f"{queue}_has_room") == (level != depth)),
            ]

    def claim_failed(self, m, dut, answers):
        """Claim that the first error stays."""
        expected = Signal(Response)
        resp = answers.payload.resp.as_value()
        with m.If(answers.valid & resp[1] & (expected == Response.OKAY)):
            m.d.sync += expected.eq(answers.payload.resp)
        m.d.comb += [
            Assert(dut.failed == expected),
            Assert(expected != Response.EXOKAY),
            Assert(answers.ready),
        ]


class ReadClaims(Claims):
    def __init__(self):
        ports = {
            "o": Out(stream.Signature(beat_layout(data_width=8))),
            "bus": Out(AXI4Read(**WIDTHS)),
        }
        super().__init__(ports=ports, inner=INNER | OF_READS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = ReadManager(**PARAMETERS)
        wiring.connect(m, dut.bus, wiring.flipped(self.bus))
        connect_stream(m, dut.o, wiring.flipped(self.o))
        ar, r = self.bus.ar, self.bus.r
        asked = self.claim_requests(m, dut, ar)
        self.claim_failed(m, dut, r)

        # What the bus owes: it answers what was asked before, and no burst lacks its last beat.
        beats = Signal(range(AHEAD + 1))
        bursts = Signal(range(OUTSTANDING + 1))
        beats_left = Signal.like(beats)
        bursts_left = Signal.like(bursts)
        ends = Signal()
        m.d.comb += [
            ends.eq(r.valid & r.payload.last),
            Assume(~r.valid | (beats != 0)),
            Assume(~ends | (bursts != 0)),
            beats_left.eq(beats - r.valid),
            bursts_left.eq(bursts - ends),
            Assume(bursts_left <= beats_left),
            Assume((bursts_left == 0) == (beats_left == 0)),
            Assert(bursts <= beats),
            Assert((bursts == 0) == (beats == 0)),
        ]
        m.d.sync += [beats.eq(beats_left), bursts.eq(bursts_left)]
        with m.If(ar.valid & ar.ready):
            m.d.sync += [beats.eq(beats_left + asked), bursts.eq(bursts_left + 1)]

        # Room is there for everything that came to the register, and so for all that may come.
        came = Signal()
        came_end = Signal()
        m.d.sync += [came.eq(r.valid), came_end.eq(ends)]
        with m.If(came):
            m.d.comb += Assert(self.buffer_has_room & self.ends_has_some)
        m.d.comb += [
            Assert((self.came == came) & ((self.came & self.came_last) == came_end)),
            Assert(beats + came + asked + self.buffer_level + self.held == AHEAD),
            Assert(bursts + came_end + ar.valid == self.ends_level),
        ]
        with m.If(dut.idle):
            m.d.comb += Assert((beats == 0) & ~came & (self.held == AHEAD))
        return m


class WriteClaims(Claims):
    def __init__(self):
        ports = {
            "data": In(stream.Signature(data_layout(data_width=8))),
            "bus": Out(AXI4Write(**WIDTHS)),
            "pick": In(1),
        }
        super().__init__(ports=ports, inner=INNER | OF_WRITES)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = WriteManager(**PARAMETERS)
        wiring.connect(m, dut.bus, wiring.flipped(self.bus))
        connect_stream(m, wiring.flipped(self.data), dut.data)
        obey(m, Assume, self.data, "data")
        aw, w, b = self.bus.aw, self.bus.w, self.bus.b
        asked = self.claim_requests(m, dut, aw)
        self.claim_failed(m, dut, b)
        obey(m, Assert, w, "w")

        # A response is to a burst of which AW and all of W are over.
        requests = Signal(range(OUTSTANDING + 1))
        written = Signal(range(OUTSTANDING + 1))
        w_ends = Signal()
        m.d.comb += [
            w_ends.eq(w.valid & w.ready & w.payload.last),
            Assume(~b.valid | ((requests != 0) & (written != 0))),
            Assert(requests + aw.valid == self.ends_level),
            Assert(written + self.lengths_level == self.ends_level),
        ]
        m.d.sync += [
            requests.eq(requests + (aw.valid & aw.ready) - b.valid),
            written.eq(written + w_ends - b.valid),
        ]

        # Beats in the buffer are free or promised, and a burst that has begun never waits for one.
        promised = Signal(10)
        m.d.comb += [
            promised.eq(
                Mux(self.lengths_valid, self.length - self.beat, 0)
                + Mux(self.lengths_is_free, 0, self.next_length)
            ),
            Assert(self.buffer_level == self.held + promised),
            Assert(w.valid == self.lengths_valid),
        ]
        with m.If(dut.idle):
            m.d.comb += Assert((requests == 0) & (written == 0) & (self.held == 0))
        self.claim_counts(m)
        self.claim_lengths(m, aw, asked, w, w_ends)
        return m

    def claim_counts(self, m):
        m.d.comb += [
            Assert(self.head < AHEAD),
            Assert(
                self.tail
                == Mux(
                    self.head + self.buffer_level >= AHEAD,
                    self.head + self.buffer_level - AHEAD,
                    self.head + self.buffer_level,
                )
            ),
            Assert(self.lengths_level == self.lengths_valid + ~self.lengths_is_free),
            Assert(self.lengths_has_some == (self.lengths_level != 0)),
            Assert(self.lengths_has_room == (self.lengths_level != 2)),
            Assert(self.lengths_valid | self.lengths_is_free),
            Assert(self.beat_is_first == (self.beat == 0)),
            Assert(self.beat_ahead == self.beat + 2),
            Assert(self.lengths_valid | (self.beat == 0)),
        ]
        with m.If(self.lengths_valid):
            m.d.comb += Assert((self.length <= BURST) & (self.beat < self.length))
        with m.If(~self.beat_is_first):
            m.d.comb += Assert(self.next_beat_is_last == (self.beat + 1 == self.length))
        with m.If(~self.lengths_is_free):
            m.d.comb += Assert((self.next_length <= BURST) & (self.next_length != 0))
        with m.If(self.fits):
            m.d.comb += Assert(self.lengths_is_free)

    def claim_lengths(self, m, aw, asked, w, w_ends):
        """Follow one burst: its last beat of W is the one that AW tells."""
        n = Signal(9)
        on_aw = Signal()
        on_w = Signal()
        before = Signal(2)  # bursts of W before it
        came = Signal(9)  # beats of W since the last one of a burst
        piece = burst_layout(address_width=12)(self.piece)
        with m.If(w.valid & w.ready):
            m.d.sync += came.eq(Mux(w.payload.last, 0, came + 1))
        m.d.comb += Assert(came == self.beat)
        with m.If(self.fits & self.pick & ~on_aw & ~on_w):
            m.d.sync += [
                n.eq(piece.len + 1),
                on_aw.eq(1),
                on_w.eq(1),
                before.eq(self.lengths_level - w_ends),
            ]
        with m.If(on_aw):
            m.d.comb += Assert(aw.valid & (asked == n))
            with m.If(aw.ready):
                m.d.sync += on_aw.eq(0)
        with m.If(on_w):
            m.d.comb += [
                Assert(before < self.lengths_level),
                Assert(Mux(before == 0, self.length, self.next_length) == n),
            ]
            with m.If(before == 0):
                m.d.comb += Assert(w.valid & (w.payload.last == (came + 1 == n)))
            with m.If(w_ends):
                m.d.sync += [before.eq(before - 1), on_w.eq(before != 0)]


@pytest.mark.parametrize("claims", [ReadClaims, WriteClaims])
def test_proof(require, claims):
    require("yosys")
    wrapper = claims()
    design = emit(wrapper, name="claims")
    prove(design, depth=4, peek=wrapper.peek)
    # Two bursts are asked for, answered, and over.
    assert witness(design, "over", depth=20) > 8
