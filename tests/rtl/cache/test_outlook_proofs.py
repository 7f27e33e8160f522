"""Jobs are told as they are counted, for ever: none is lost, and dead is what has none left.

Two blocks of up to three jobs, in three windows and any number of later ones. Words are of two
windows instead of 32, so that a block has two of them.
"""

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.cache import outlook
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness
from tests.rtl.cache.altered import altered

BLOCKS, WINDOWS, JOBS, USES, WORD = 2, 3, 2, 3, 2
WORDS = 2

STATES = ("clear", "rest", "read", "tell", "count", "first_use", "look", "offer")
SEEN = ("died", "comes_later", "was_wrong", "had_left")
"""What there are witnesses of."""


def shorten(*changes):
    """Return the component with short words, and with other changes."""
    return altered(outlook, ("_WORD = 32", f"_WORD = {WORD}"), *changes).Outlook


class OutlookClaims(Component):
    """What is told of blocks, beside jobs of each bank, block and window.

    Users who are ``honest`` visit the same blocks again, with the same jobs, once in a window.
    Others are found out. Those who are ``eager`` never wait, and reset nothing: a solver finds runs
    of theirs sooner.
    """

    def __init__(self, *, honest, eager=False, unit=None):
        self.honest, self.eager = honest, eager
        unit = unit or shorten()
        self.dut = dut = unit(blocks=BLOCKS, heads=2, windows=WINDOWS, jobs=JOBS, uses=USES)
        inner = {
            "state": ("dut.fsm_state", 3),
            "tells": ("dut.tells", 1),
            "word": ("dut.word", 1),
            "cleared": ("dut.cleared", 3),
            "bank": ("dut.bank", 1),
            "n_heads": ("dut.n_heads", 2),
            "counted": ("dut.counted", 2),
            "now": ("dut.now", 2),
            "left_read": ("dut.left__r_data", 2),
            "bits_read": ("dut.bits__r_data", WORD),
            **{f"total_{k}": (f"dut.total_{k}", 3) for k in range(2)},
            **{f"left_{k}": (f"dut.left[{k}]", 2) for k in range(2 * BLOCKS)},
            **{f"bits_{k}": (f"dut.bits[{k}]", WORD) for k in range(2 * BLOCKS * WORDS)},
        }
        self.peek = {name: path for name, (path, _) in inner.items()}
        super().__init__(
            {
                **dut.signature.members,
                **{name: In(shape) for name, (_, shape) in inner.items()},
                **dict.fromkeys(SEEN, Out(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name in ("i", "visits"):
            connect_stream(m, wiring.flipped(getattr(self, name)), getattr(dut, name))
            obey(m, Assume, getattr(dut, name), name)
        connect_stream(m, dut.o, wiring.flipped(self.o))
        m.d.comb += [dut.threshold.eq(self.threshold), self.wrong.eq(dut.wrong)]
        threshold = Signal.like(dut.threshold)
        is_set = Signal()
        m.d.sync += [is_set.eq(1), threshold.eq(dut.threshold)]
        m.d.comb += Assume(~is_set | (threshold == dut.threshold))

        self.at = {name: Signal(name=f"at_{name}") for name in STATES}
        m.d.comb += [is_at.eq(self.state == k) for k, is_at in enumerate(self.at.values())]
        self.remember(m)
        self.assume(m)
        self.promise(m)
        self.claim_turns(m)
        self.claim_memories(m)
        self.claim_look(m)
        return m

    def remember(self, m):
        """Count jobs of each bank, block and window; the last window is all that are later."""
        use, visit = self.dut.i, self.dut.visits
        self.comes, self.goes = Signal(), Signal()
        self.fills, self.drains = Signal(), Signal()  # banks
        self.heads = Signal(range(3))
        windows = range(WINDOWS + 1)
        self.use_window = Signal(windows)
        self.visit_window = Signal(windows)
        self.head = Signal.like(self.dut.o.payload.head)
        self.over = Signal()  # a visit had more jobs than were left
        self.remains = Signal()  # jobs were left at a head's end
        ends = {}
        for name, of, moves, bank, window in (
            ("use", use, self.comes, self.fills, self.use_window),
            ("visit", visit, self.goes, self.drains, self.visit_window),
        ):
            item = of.payload
            ends[name] = Signal(name=f"{name}_ends_head")
            m.d.comb += [
                moves.eq(of.valid & of.ready),
                ends[name].eq(moves & item.ends & item.last),
            ]
            with m.If(ends[name]):
                m.d.sync += [bank.eq(~bank), window.eq(0)]
            with m.Elif(moves & item.ends & (window != WINDOWS)):
                m.d.sync += window.eq(window + 1)
        m.d.sync += [
            self.heads.eq(self.heads + ends["use"] - ends["visit"]),
            self.head.eq(self.head + ends["visit"]),
        ]
        # All jobs of a block, and those of its windows; and both without those of the visit that
        # is being told of.
        telling = self.at["look"] | self.at["offer"]
        self.jobs, self.left, self.windows, self.windows_left = {}, {}, {}, {}
        for k in range(2):
            for b in range(BLOCKS):
                key = k, b
                jobs = Signal(range(USES + 1), name=f"jobs_{k}_{b}")
                left = Signal(range(USES + 1), name=f"jobs_left_{k}_{b}")
                self.jobs[key], self.left[key] = jobs, left
                is_use = (self.fills == k) & (use.payload.block == b) & ~use.payload.ends
                is_visit = (self.drains == k) & (visit.payload.block == b) & ~visit.payload.ends
                come = Mux(self.comes & is_use, use.payload.jobs, 0)
                go = Mux(is_visit, visit.payload.jobs, 0)
                m.d.sync += jobs.eq(jobs + come - Mux(self.goes, go, 0))
                m.d.comb += left.eq(jobs - Mux(telling, go, 0))
                self.windows[key], self.windows_left[key] = [], []
                for w in windows:
                    each = Signal(range(USES + 1), name=f"jobs_{k}_{b}_{w}")
                    rest = Signal(range(USES + 1), name=f"jobs_left_{k}_{b}_{w}")
                    self.windows[key].append(each)
                    self.windows_left[key].append(rest)
                    if self.honest:
                        come_now = Mux(self.use_window == w, come, 0)
                        go_now = Mux(self.visit_window == w, go, 0)
                        m.d.sync += each.eq(each + come_now - Mux(self.goes, go_now, 0))
                        m.d.comb += rest.eq(each - Mux(telling, go_now, 0))
                if self.honest:
                    m.d.comb += Assert(jobs == sum(self.windows[key]))

        def of_visit(table):
            visited = visit.payload.block
            return Mux(
                self.drains,
                Array(table[1, b] for b in range(BLOCKS))[visited],
                Array(table[0, b] for b in range(BLOCKS))[visited],
            )

        self.visited = Signal(range(USES + 1))  # jobs of the visit's block, with the visit's
        self.visited_left = Signal(range(USES + 1))
        m.d.comb += [
            self.visited.eq(of_visit(self.jobs)),
            self.visited_left.eq(of_visit(self.left)),
        ]
        self.coming = Signal(WINDOWS + 1)  # windows of the block behind this one
        for w in windows:
            rest = of_visit({key: of[w] for key, of in self.windows_left.items()})
            m.d.comb += self.coming[w].eq((rest != 0) & ((w > self.visit_window) | (w == WINDOWS)))
        self.exceeds = Signal()
        m.d.comb += self.exceeds.eq(~visit.payload.ends & (visit.payload.jobs > self.visited))
        self.remaining = Signal()
        m.d.comb += self.remaining.eq(
            Mux(self.drains, *(sum(self.jobs[k, b] for b in range(BLOCKS)) for k in (1, 0))) != 0
        )
        with m.If(self.goes & self.exceeds):
            m.d.sync += self.over.eq(1)
        with m.If(ends["visit"] & self.remaining & ~self.over):
            m.d.sync += self.remains.eq(1)
        self.is_sound = Signal()
        m.d.comb += self.is_sound.eq(~self.over & ~(telling & self.exceeds))

    def assume(self, m):
        """Assume what users promise."""
        use, visit = self.dut.i.payload, self.dut.visits.payload
        if self.eager:
            is_there = self.dut.i.valid & self.dut.visits.valid
            m.d.comb += Assume(is_there & self.o.ready & ~ResetSignal())
        for k in range(2):
            for b in range(BLOCKS):
                jobs = self.jobs[k, b]
                is_it = self.dut.i.valid & ~use.ends & (self.fills == k) & (use.block == b)
                with m.If(is_it & (self.heads != 2) & ~self.over):
                    m.d.comb += Assume((use.jobs != 0) & (use.jobs <= JOBS))
                    m.d.comb += Assume(jobs + use.jobs <= USES)
                    if self.honest:
                        of = Array(self.windows[k, b])[self.use_window]
                        m.d.comb += Assume((of == 0) | (self.use_window == WINDOWS))
        if not self.honest:
            return
        with m.If(self.dut.visits.valid & (self.heads != 0)):
            for k in range(2):
                for b in range(BLOCKS):
                    of = Array(self.windows[k, b])[self.visit_window]
                    is_later = self.visit_window == WINDOWS
                    with m.If((self.drains == k) & visit.ends):
                        m.d.comb += Assume((of == 0) | is_later)
                        m.d.comb += Assume((self.jobs[k, b] == 0) | ~visit.last)
                    with m.Elif((self.drains == k) & (visit.block == b)):
                        m.d.comb += Assume((visit.jobs != 0) & (visit.jobs <= of))
                        m.d.comb += Assume((visit.jobs == of) | is_later)

    def promise(self, m):
        """Claim what is told, and what is found out."""
        dut = self.dut
        visit, told = dut.visits.payload, dut.o.payload
        obey(m, Assert, dut.o, "o")
        # Each visit is told once, when it is taken.
        m.d.comb += Assert((dut.o.valid & dut.o.ready) == (self.goes & ~visit.ends))
        is_told = Signal()
        m.d.comb += is_told.eq(dut.o.valid & self.is_sound)
        with m.If(is_told):
            m.d.comb += [
                Assert(dut.visits.valid & (told.block == visit.block) & (told.head == self.head)),
                Assert(told.dead == (self.visited == visit.jobs)),
                Assert(told.hot == (self.visited > dut.threshold)),
            ]
            if self.honest:
                first = Signal(range(WINDOWS + 1))
                for w in reversed(range(WINDOWS + 1)):
                    with m.If(self.coming[w]):
                        m.d.comb += first.eq(w)
                m.d.comb += [
                    # Nobody needs what is dead, and somebody what is not, first in that window.
                    Assert(told.dead == ~self.coming.any()),
                    Assert(told.next == first),
                    self.comes_later.eq(~told.dead & (told.next < WINDOWS)),
                ]
            m.d.comb += self.died.eq(told.dead)
        m.d.comb += [
            self.was_wrong.eq(self.over),
            self.had_left.eq(self.remains),
        ]
        telling = self.at["look"] | self.at["offer"]
        m.d.comb += Assert(dut.wrong[0] | ~self.over)
        with m.If(~self.over):
            m.d.comb += Assert(dut.wrong[0] == (telling & self.exceeds))
            m.d.comb += Assert(dut.wrong[1] == self.remains)
        if self.honest:
            m.d.comb += Assert(dut.wrong == 0)

    def claim_turns(self, m):
        """Claim whose turn it is."""
        at = self.at
        m.d.comb += [
            Assert(self.heads == self.n_heads),
            Assert(self.heads <= 2),
            Assert(self.bank == self.fills),
            Assert(self.drains == self.fills ^ self.heads[0]),
            Assert(self.counted == self.use_window),
            Assert(self.now == self.visit_window),
            Assert((self.heads != 0) | (self.visit_window == 0)),
            Assert(self.drains == (self.bank ^ self.n_heads[0])),
        ]
        use, visit = self.dut.i, self.dut.visits
        may_count = use.valid & (self.heads != 2) & ~self.tells
        may_tell = visit.valid & (self.heads != 0) & self.tells
        with m.If(at["read"]):
            m.d.comb += Assert(may_count | may_tell)
        with m.If(at["count"] | at["first_use"]):
            m.d.comb += Assert(may_count)
        with m.If(at["tell"] | at["look"] | at["offer"]):
            m.d.comb += Assert(may_tell)
        with m.If(at["first_use"]):
            m.d.comb += Assert(~use.payload.ends)
        with m.If(at["look"] | at["offer"]):
            m.d.comb += Assert(~visit.payload.ends)

    def claim_memories(self, m):
        """Claim that memories and totals are of what has been counted and not told."""
        at, use = self.at, self.dut.i.payload
        for k in range(2):
            total = getattr(self, f"total_{k}")
            with m.If(self.is_sound):
                m.d.comb += Assert(total == sum(self.left[k, b] for b in range(BLOCKS)))
            for b in range(BLOCKS):
                number = b + BLOCKS * k
                left, expected = getattr(self, f"left_{number}"), self.left[k, b]
                is_first = at["first_use"] & (self.fills == k) & (use.block == b)
                words = [getattr(self, f"bits_{WORDS * number + w}") for w in range(WORDS)]
                with m.If(at["clear"]):
                    m.d.comb += Assert(self.jobs[k, b] == 0)
                    m.d.comb += Assert((left == 0) | (self.cleared <= number))
                with m.Elif(is_first & self.is_sound):
                    m.d.comb += Assert(expected == 0)
                    m.d.comb += Assert(left == Mux(self.word == 0, 0, use.jobs))
                    first = Signal(WORD, name=f"first_{number}")
                    is_own = self.use_window < WORD
                    m.d.comb += first.eq(Mux(is_own, 1 << self.use_window[0], 0))
                    m.d.comb += Assert((self.word == 0) | (words[0] == first))
                with m.Elif(self.is_sound):
                    m.d.comb += Assert(left == expected)
                    if self.honest:
                        known = Cat(each != 0 for each in self.windows_left[k, b][:WINDOWS])
                        m.d.comb += Assert((left == 0) | (Cat(words) == known))
                if self.honest:
                    for w in range(WINDOWS):
                        is_over = (self.drains == k) & (w < self.visit_window)
                        m.d.comb += Assert(~is_over | (self.windows[k, b][w] == 0))
        with m.If(at["clear"]):
            m.d.comb += [Assert(self.heads == 0), Assert(self.cleared < 2 * BLOCKS)]

    def claim_look(self, m):
        """Claim what has been read, and that no window is passed over."""
        at, visit, told = self.at, self.dut.visits.payload, self.dut.o.payload
        block = Mux(self.tells, visit.block, self.dut.i.payload.block)
        number = Signal(2)
        own = Signal()
        window = Signal(range(WINDOWS + 1))
        m.d.comb += [
            number.eq(block + BLOCKS * Mux(self.tells, self.drains, self.fills)),
            window.eq(Mux(self.tells, self.visit_window, self.use_window)),
            own.eq(window >> 1),
        ]
        lefts = Array(getattr(self, f"left_{k}") for k in range(2 * BLOCKS))
        bits = Array(getattr(self, f"bits_{k}") for k in range(2 * BLOCKS * WORDS))
        with m.If(at["tell"] | at["count"]):
            m.d.comb += Assert(self.left_read == lefts[number])
            m.d.comb += Assert(self.bits_read == bits[Cat(own, number)])
        with m.If(at["tell"]):
            m.d.comb += Assert(self.word == own)
        with m.If(at["look"] | at["offer"]):
            m.d.comb += Assert(told.block == visit.block)
            with m.If(self.is_sound):
                m.d.comb += Assert(told.dead == (self.visited_left == 0))
                m.d.comb += Assert(told.hot == (self.visited > self.dut.threshold))
        with m.If(at["look"]):
            later = Signal(WORD)  # of the word's windows
            m.d.comb += later.eq(Mux(self.word == own, Mux(window[0], 0, 2), 3))
            m.d.comb += Assert(((self.bits_read ^ bits[Cat(self.word, number)]) & later) == 0)
            m.d.comb += Assert(self.word >= own)
            with m.If((self.word != own) & self.honest):
                m.d.comb += Assert(~self.coming[:WORD].any())
        m.d.comb += Assert(told.head == self.head)


@pytest.mark.parametrize("honest", [True, False])
def test_promises(require, honest):
    require("yosys")
    claims = OutlookClaims(honest=honest)
    prove(emit(claims, name="claims"), depth=2, peek=claims.peek)


@pytest.mark.parametrize("port", SEEN)
def test_what_is_promised_of_happens(require, port):
    require("yosys")
    claims = OutlookClaims(honest=port not in ("was_wrong", "had_left"), eager=True)
    assert witness(emit(claims, name="claims"), port, depth=24) > 10
