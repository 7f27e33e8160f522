"""The cache keeps its promises, for ever: whatever is visited, and whenever it is served.

Three blocks of two heads, two slots, two visits at a time or three. What is promised is said of
ports alone; what is claimed of states inside makes the induction close.
"""

import re
from functools import reduce
from operator import or_

import pytest
from amaranth.hdl import Array, Assert, Assume, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.cache.control import CacheControl
from qkloom.rtl.cache.visit import BYPASSES
from qkloom.rtl.component import Component
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import obey, prove, witness

BLOCKS, HEADS, WINDOWS = 3, 2, 2

STATES = ("clear", "rest", "retire", "look", "let_go", "compare", "choose", "note", "offer")
CLEAR, REST, WRITE, MEET = range(4)
"""States of a tournament."""

SEEN = ("evicted", "bypassed", "hit", "freed", "returned")
"""What there are witnesses of."""

CONTENT = data.StructLayout({"valid": 1, "dead": 1, "gone": 1, "head": 1, "block": 2})
"""What a slot was filled with last. ``dead``: with its latest visit nobody needs it any more;
``gone``: since then the control was idle."""


def is_of(one, other):
    """Tell whether both are of the same block of the same head."""
    return (one.head == other.head) & (one.block == other.block)


def spell(path):
    """Return a path inside as a name."""
    return re.sub("[^a-z0-9]+", "_", path).strip("_")


class TournamentClaims:
    """One slot or two: the best key is the largest one, and no key is lost on its way."""

    def __init__(self, name, *, slots, first, key_width):
        self.name, self.slots, self.first, self.levels = name, slots, first, slots - 1
        self.leaf = 1 << self.levels
        entry = data.StructLayout({"slot": 1, "key": key_width})
        inner = {"fsm_state": 2, "node": self.levels + 1, "climber": entry, "best": entry}
        inner |= {f"nodes[{self.leaf + k}]": entry for k in range(slots)}
        if self.levels:
            inner |= {"below": 1, "nodes__r_data": entry}
        self.inner = {
            f"{name}_{spell(of)}": (f"dut.{name}.{of}", shape) for of, shape in inner.items()
        }

    def claim(self, m, ports):
        """Claim this; return the slots' keys, and the cycles until it is settled."""

        def inner(name):
            return getattr(ports, f"{self.name}_{name}")

        state, node, climber = inner("fsm_state"), inner("node"), inner("climber")
        leaves = [inner(f"nodes_{self.leaf + k}") for k in range(self.slots)]
        is_leaf = Signal(name=f"{self.name}_is_leaf")
        busy = Signal(range(6), name=f"{self.name}_busy")
        m.d.comb += is_leaf.eq(node >= self.leaf)
        keys = []
        for k, leaf in enumerate(leaves):
            key = Signal(len(leaf.key), name=f"{self.name}_key_{k}")
            keys.append(key)
            m.d.comb += key.eq(leaf.key)
            with m.If(state == CLEAR):
                m.d.comb += key.eq(-1)
                with m.If(node > self.leaf + k):
                    m.d.comb += [Assert(leaf.slot == k), Assert(leaf.key.all())]
            with m.Else():
                m.d.comb += Assert(leaf.slot == k)
                with m.If((state == WRITE) & is_leaf & (climber.slot == k)):
                    m.d.comb += key.eq(climber.key)

        def claim_best(entry):
            m.d.comb += [
                Assert(entry.slot < self.slots),
                Assert(entry.key == Array(leaf.key for leaf in leaves)[entry.slot]),
                *(Assert(entry.key >= leaf.key) for leaf in leaves),
            ]

        with m.If(state == CLEAR):
            m.d.comb += busy.eq((2 << self.levels) - node)
            if self.levels:
                m.d.comb += Assert(inner("below") == (node < 2))
        with m.Elif(state == REST):
            claim_best(inner("best"))
        with m.Elif(state == WRITE):
            m.d.comb += Assert(node != 0)
            with m.If(is_leaf):
                m.d.comb += busy.eq(1 + 2 * self.levels)
                m.d.comb += Assert(climber.slot == node - self.leaf)
            with m.Else():
                m.d.comb += busy.eq(1)
                claim_best(climber)
        with m.Else():
            m.d.comb += busy.eq(2)
            m.d.comb += Assert(bool(self.levels))
            if self.levels:
                mine, other = (Mux(node[0] ^ k, *reversed(leaves)) for k in (0, 1))
                m.d.comb += [
                    Assert(is_leaf),
                    Assert(mine == climber.as_value()),
                    Assert(other == inner("nodes_r_data").as_value()),
                ]
        return keys, busy


class ControlClaims(Component):
    """What is promised to those who fill slots, and to those who read them.

    The number of a head comes again only when nothing is left that came with it before: within a
    call all heads have numbers of their own, and between calls the control is idle. Users who are
    ``eager`` never wait, and reset nothing: a solver finds runs of theirs sooner.
    """

    def __init__(self, *, policy, hot, cold, lookahead, eager=False):
        self.policy, self.lookahead, self.eager = policy, lookahead, eager
        self.hot, self.slots = hot, hot + cold
        self.dut = dut = CacheControl(
            policy=policy,
            hot=hot,
            cold=cold,
            blocks=BLOCKS,
            heads=HEADS,
            windows=WINDOWS,
            lookahead=lookahead,
        )
        order, key_width = {"lru": (24, 25), "next-use": (2, 5)}.get(policy, (2, 1))
        self.tournaments = [
            TournamentClaims(name, slots=slots, first=first, key_width=key_width)
            for name, slots, first in (("cold", cold, hot), ("hot", hot, 0))
            if slots and policy != "none"
        ]
        self.record_shape = record = data.StructLayout(
            {"held": 1, "dead": 1, "pins": 2, "head": 1, "block": 2, "order": order}
        )
        inner = {
            "state": ("dut.fsm_state", 4),
            "slot": ("dut.slot", 1),
            "cleared": ("dut.cleared", 2),
            "bypass": ("dut.bypass", 1),
            "fetches": ("dut.fetches", 1),
            "evicts": ("dut.evicts", 1),
            "buffer": ("dut.buffer", 1),
            "record": ("dut.record", record),
            "key": ("dut.changes__payload", key_width),
            "found": ("dut.records__r_data", record),
            "found_place": ("dut.place__r_data", 1),
            "n_served": ("dut.n", 2),
            "has_served": ("dut.has_some", 1),
            "has_buffer": ("dut.bypass_has_room", 1),
            **{f"record_{s}": (f"dut.records[{s}]", record) for s in range(2)},
            **{f"place_{b}": (f"dut.place[{b}]", 1) for b in range(BLOCKS)},
        }
        for queue, shape in (
            ("granted", data.StructLayout({"kept": 1, "slot": 1})),
            ("kinds", data.StructLayout({"bypass": 1})),
        ):
            inner[f"{queue}_level"] = f"dut.{queue}.level", 2
            if lookahead == 2:
                parts = {"slice.head": shape, "slice.stored": shape}
                parts |= {"slice.valid": 1, "slice.is_free": 1}
            else:
                parts = {"head": 2, "tail": 2, "has_some": 1, "has_room": 1}
                parts |= {f"storage[{k}]": shape for k in range(lookahead)}
            inner |= {
                f"{queue}_{spell(name)}": (f"dut.{queue}.{name}", of) for name, of in parts.items()
            }
        for tournament in self.tournaments:
            inner |= tournament.inner
        self.peek = {name: path for name, (path, _) in inner.items()}
        super().__init__(
            {
                **dut.signature.members,
                "n_bypassed": In(2),
                **{name: In(shape) for name, (_, shape) in inner.items()},
                **dict.fromkeys(SEEN, Out(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        connect_stream(m, wiring.flipped(self.i), dut.i)
        connect_stream(m, dut.o, wiring.flipped(self.o))
        obey(m, Assume, dut.i, "i")
        obey(m, Assert, dut.o, "o")
        m.d.comb += [
            dut.ends.eq(self.ends),
            dut.served.eq(self.served),
            self.events.eq(dut.events),
            self.idle.eq(dut.idle),
        ]
        at = {name: Signal(name=f"at_{name}") for name in STATES}
        m.d.comb += Assert(self.state < len(STATES))
        m.d.comb += [is_at.eq(self.state == k) for k, is_at in enumerate(at.values())]
        if self.eager:
            m.d.comb += Assume(self.i.valid & self.o.ready & ~ResetSignal())
        self.remember(m)
        self.promise(m)
        self.claim_queues(m)
        busy = self.claim_slots(m, at)
        self.claim_visit(m, at)
        self.claim_answer(m, at, busy)
        return m

    def remember(self, m):
        """Remember the latest decisions, and what slots are filled with; assume what users keep."""
        dut = self.dut
        visit, told = dut.i.payload, dut.o.payload
        self.moves = Signal()
        self.unserved = Signal(range(self.lookahead + 1))
        self.latest = [Signal(told.shape(), name=f"latest_{k}") for k in range(self.lookahead)]
        self.contents = [Signal(CONTENT, name=f"content_{s}") for s in range(self.slots)]
        m.d.comb += self.moves.eq(dut.o.valid & dut.o.ready)
        m.d.sync += self.unserved.eq(self.unserved + self.moves - self.served)
        with m.If(self.moves):
            for older, newer in zip(self.latest, [told, *self.latest], strict=False):
                m.d.sync += older.eq(newer)
        for s, content in enumerate(self.contents):
            m.d.comb += Assert(~content.gone | content.dead)
            m.d.comb += Assert(~content.dead | content.valid)
            with m.If(dut.idle & content.dead):
                m.d.sync += content.gone.eq(1)
            with m.If(self.moves & (told.slot == s)):
                m.d.sync += content.dead.eq(visit.dead)
                with m.If(told.fetch):
                    m.d.sync += [
                        content.valid.eq(1),
                        content.gone.eq(0),
                        content.head.eq(visit.head),
                        content.block.eq(visit.block),
                    ]
        stays = Signal()
        m.d.comb += stays.eq(visit.head == self.latest[0].head)
        m.d.comb += Assume(~self.served | (self.unserved != 0))
        with m.If(dut.i.valid):
            m.d.comb += Assume(visit.block < BLOCKS)
            for content in self.contents:
                left = content.valid & ~content.gone & (content.head == visit.head)
                m.d.comb += Assume(stays | ~left)

    def promise(self, m):
        """Claim of ports what those may rely on who are told of decisions."""
        dut = self.dut
        visit, told = dut.i.payload, dut.o.payload
        # No visit is lost, doubled, overtaken or changed.
        m.d.comb += Assert(dut.i.ready == self.moves)
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(dut.i.valid),
                Assert(is_of(visit, told)),
                Assert(told.slot < self.slots + BYPASSES),
                Assert(told.fetch | (told.slot < self.slots)),
                Assert(self.unserved < self.lookahead),
            ]
        # Nothing is written over that is still to be read, so that a slot is of one block.
        for k, other in enumerate(self.latest):
            with m.If(dut.o.valid & (told.slot == other.slot) & (k < self.unserved)):
                m.d.comb += Assert(~told.fetch & is_of(told, other))
        event = Signal(dut.events.shape())
        m.d.comb += event.bypass.eq(told.slot >= self.slots)
        seen = {name: Signal(name=f"is_{name}") for name in SEEN}
        m.d.comb += seen["bypassed"].eq(self.moves & event.bypass)
        for s, content in enumerate(self.contents):
            tier = 2 if s < self.hot else 1
            # What is fetched is nowhere, or nobody was to ask for it again.
            with m.If(dut.o.valid & told.fetch & content.valid & is_of(visit, content)):
                m.d.comb += Assert(content.dead & (self.uses_of(s, self.unserved) == 0))
            with m.If(told.slot == s):
                with m.If(told.fetch):
                    m.d.comb += event.fill.eq(tier)
                    with m.If(content.valid & ~content.dead):
                        m.d.comb += event.evict.eq(tier)
                        m.d.comb += seen["evicted"].eq(self.moves)
                    with m.If(content.dead & ~content.gone):
                        m.d.comb += seen["freed"].eq(self.moves)
                    with m.If(content.gone & is_of(visit, content)):
                        m.d.comb += seen["returned"].eq(self.moves)
                with m.Else():
                    m.d.comb += event.hit.eq(tier)
                    m.d.comb += seen["hit"].eq(self.moves)
                    # And what is not fetched is there.
                    with m.If(dut.o.valid):
                        m.d.comb += Assert(content.valid & ~content.gone & is_of(visit, content))
        expected = Signal(dut.events.shape())
        m.d.sync += expected.eq(Mux(self.moves, event.as_value(), 0))
        m.d.comb += Assert(dut.events.as_value() == expected.as_value())
        m.d.comb += [getattr(self, name).eq(is_seen) for name, is_seen in seen.items()]

    def uses_of(self, s, n):
        """Return how many of the latest ``n`` decisions are of a slot."""
        return sum(((k < n) & (told.slot == s) for k, told in enumerate(self.latest)), start=0)

    def claim_queues(self, m):
        """Claim that queues and counters tell of the latest decisions."""
        nowhere = [told.slot >= self.slots for told in self.latest]
        n_bypassed = Signal(range(self.lookahead + 1))
        m.d.comb += [
            n_bypassed.eq(sum((k < self.unserved) & of for k, of in enumerate(nowhere))),
            Assert(self.granted_level <= self.lookahead),
            Assert(self.granted_level == self.unserved + self.n_served),
            Assert(self.has_served == (self.n_served != 0)),
            Assert(self.kinds_level == self.unserved),
            Assert(self.n_bypassed == n_bypassed),
            Assert(n_bypassed <= BYPASSES),
            Assert(self.has_buffer == (n_bypassed != BYPASSES)),
        ]
        for queue in ("granted", "kinds"):
            items = self.claim_queue(m, queue)
            for n in range(1, self.lookahead + 1):
                with m.If(getattr(self, f"{queue}_level") == n):
                    for item, told, is_nowhere in zip(
                        items, self.latest[n - 1 :: -1], nowhere[n - 1 :: -1], strict=False
                    ):
                        if queue == "kinds":
                            m.d.comb += Assert(item.bypass == is_nowhere)
                        else:
                            m.d.comb += Assert(item.kept == ~is_nowhere)
                            m.d.comb += Assert(is_nowhere | (item.slot == told.slot))
        # Blocks that are kept nowhere take turns: behind one in buffer 0 comes one in buffer 1.
        following = self.buffer
        for k, told in enumerate(self.latest):
            buffer = Signal(name=f"buffer_{k}")
            is_nowhere = (k < self.unserved) & nowhere[k]
            m.d.comb += buffer.eq(Mux(is_nowhere, told.slot - self.slots, following))
            with m.If(is_nowhere):
                m.d.comb += Assert(buffer != following)
            following = buffer

    def claim_queue(self, m, name):
        """Claim what holds for a queue; return its items, the oldest one first."""

        def inner(of):
            return getattr(self, f"{name}_{of}")

        level, head = inner("level"), inner("head" if self.lookahead == 3 else "slice_head")
        if self.lookahead == 2:
            m.d.comb += Assert(inner("slice_valid") == (level != 0))
            m.d.comb += Assert(inner("slice_is_free") == (level != 2))
            return [head, inner("slice_stored")]
        depth = self.lookahead
        m.d.comb += [
            Assert(inner("has_some") == (level != 0)),
            Assert(inner("has_room") == (level != depth)),
            Assert(head < depth),
            Assert(inner("tail") == (head + level) % depth),
        ]
        items = Array(inner(f"storage_{k}") for k in range(depth))
        return [items[(head + k) % depth] for k in range(depth)]

    def claim_slots(self, m, at):
        """Claim that records, places and keys tell of what slots are filled with."""
        visit = self.dut.i.payload
        keys, busy = [None] * self.slots, 0
        for tournament in self.tournaments:
            first = tournament.first
            keys[first : first + tournament.slots], of_tier = tournament.claim(m, self)
            busy = Mux(of_tier > busy, of_tier, busy)
        self.decides = Signal()
        m.d.comb += self.decides.eq(
            at["look"] | at["compare"] | at["choose"] | at["note"] | at["offer"]
        )
        head = Signal(range(HEADS))  # whose blocks are looked up
        m.d.comb += head.eq(Mux(self.decides, visit.head, self.latest[0].head))
        places = Array(getattr(self, f"place_{b}") for b in range(BLOCKS))
        with m.If(at["clear"]):
            m.d.comb += [Assert(self.granted_level == 0), Assert(self.cleared < 2)]
            m.d.comb += [Assert(~content.valid) for content in self.contents]
        self.is_here = []
        for s in range(self.slots):
            mine = Signal(name=f"mine_{s}")
            comes = Signal(name=f"comes_{s}")  # the visit's block
            pins = Signal(2, name=f"pins_{s}")  # with those of the visit
            record = Signal(self.record_shape, name=f"slot_{s}")  # as it is, or is to be
            stored = getattr(self, f"record_{s}")
            m.d.comb += [
                mine.eq(self.slot == s),
                comes.eq(mine & (at["note"] | (at["offer"] & ~self.bypass))),
                pins.eq(self.uses_of(s, self.granted_level) + comes),
                record.eq(stored),
            ]
            with m.If(mine & at["retire"]):
                m.d.comb += [
                    Assert(stored.held & (stored.pins != 0)),
                    Assert(self.found.as_value() == stored.as_value()),
                    record.pins.eq(stored.pins - 1),
                    record.held.eq((stored.pins != 1) | ~stored.dead),
                ]
            with m.If(mine & (at["let_go"] | at["note"])):
                m.d.comb += record.eq(self.record)
            with m.If(at["compare"] & (self.found_place == s)):
                m.d.comb += Assert(self.found.as_value() == stored.as_value())
            is_new = comes & self.fetches
            with m.If(at["clear"]):
                m.d.comb += [Assert(keys[s].all()), Assert(~stored.held | (self.cleared <= s))]
            with m.Else():
                self.claim_slot(m, s, record, pins, comes)
                with m.If(record.held & (record.head == head)):
                    m.d.comb += Assert((places[record.block] == s) | (is_new & at["note"]))
                # The key of a slot is 0 if it must stay; all bits are set if it is free.
                key = Signal(len(self.key), name=f"key_{s}")
                m.d.comb += key.eq(Mux(mine & (at["let_go"] | at["note"]), self.key, keys[s]))
                with m.If(mine & at["retire"]):
                    m.d.comb += Assert(key == 0)
                with m.Else():
                    m.d.comb += Assert(key.all() == ~record.held)
                    m.d.comb += Assert(~record.held | (pins == 0) | (key == 0))
            self.is_here.append(record.held & ~is_new & is_of(visit, record))
        if self.slots:
            with m.If(at["look"] | at["compare"]):
                m.d.comb += Assert(self.found_place == places[visit.block])
        else:
            states = ("retire", "let_go", "choose", "note")
            m.d.comb += Assert(~reduce(or_, (at[name] for name in states)))
            m.d.comb += Assert(~at["offer"] | (self.bypass & self.fetches))
            m.d.comb += Assert(~at["compare"] | ~self.found.held)
            for s in range(2):
                is_cleared = ~at["clear"] | (self.cleared > s)
                m.d.comb += Assert(~is_cleared | ~getattr(self, f"record_{s}").held)
        return busy

    def claim_slot(self, m, s, record, pins, comes):
        """Claim of a slot that its record is of its content, and that it has the right pins."""
        visit, content = self.dut.i.payload, self.contents[s]
        is_new = comes & self.fetches
        with m.If(comes):
            m.d.comb += Assert(record.held & is_of(visit, record))
        with m.If(record.held):
            m.d.comb += [
                Assert(record.pins == pins),
                Assert(record.dead == Mux(comes, visit.dead, content.dead)),
                Assert(~record.dead | (pins != 0)),
            ]
            with m.If(~is_new):
                m.d.comb += Assert(content.valid & ~content.gone & is_of(record, content))
        with m.Else():
            m.d.comb += [Assert(pins == 0), Assert(~content.valid | content.dead)]
        for k, told in enumerate(self.latest):
            with m.If((k < self.granted_level) & (told.slot == s)):
                m.d.comb += Assert(~is_new & is_of(record, told))

    def claim_visit(self, m, at):
        """Claim of the visit in hand what has been found out about it."""
        visit = self.dut.i.payload
        with m.If(self.decides):
            m.d.comb += [Assert(self.dut.i.valid), Assert(self.granted_level < self.lookahead)]
        is_chosen = Signal()
        m.d.comb += is_chosen.eq(at["note"] | at["offer"])
        with m.If(at["choose"]):
            record = self.record
            m.d.comb += [
                Assert(self.fetches & ~self.bypass & ~self.evicts & (self.key == 0)),
                Assert(record.held & (record.pins == 1) & (record.dead == visit.dead)),
                Assert(is_of(visit, record)),
            ]
        with m.If(at["note"]):
            m.d.comb += Assert(~self.bypass & (self.key == 0))
        with m.If(is_chosen):
            m.d.comb += Assert(~self.evicts | ~self.bypass)
            m.d.comb += Assert(self.fetches | ~(self.evicts | self.bypass))
        # Free slots go first. With liveness those of its tier alone are a cold block's.
        is_hot = [s < self.hot for s in range(self.slots)]
        for s, content in enumerate(self.contents):
            uses = self.uses_of(s, self.granted_level)
            stays = Signal(name=f"stays_{s}")
            m.d.comb += stays.eq(content.valid & (~content.dead | (uses != 0)))
            with m.If((at["choose"] | is_chosen) & self.fetches):
                m.d.comb += Assert(~self.is_here[s])
                m.d.comb += Assert(~stays | ~is_of(visit, content))
            with m.If(is_chosen & self.fetches & ~self.bypass & (self.slot == s)):
                m.d.comb += Assert(uses == 0)
                m.d.comb += Assert(self.evicts == stays)
            may = visit.hot if self.policy == "liveness" and is_hot[s] else 1
            with m.If(is_chosen & (self.evicts | self.bypass) & may):
                m.d.comb += Assert(stays)
        if self.policy == "liveness":
            m.d.comb += Assert(~is_chosen | ~self.evicts)

    def claim_answer(self, m, at, busy):
        """Claim that a visit is answered in time, unless somebody lets it wait.

        Cycles that are left at most; each granted visit may be retired before.
        """
        dut = self.dut
        late = (self.granted_level == self.lookahead) & ~self.has_served
        retiring = 6 * self.granted_level + late
        left = Signal(range(64))
        for name, of in {
            "clear": 8 + busy - self.cleared,
            "rest": 6 + busy + retiring,
            "retire": 11 + busy + retiring,
            "let_go": 10 + busy + retiring,
            "look": 5 + busy,
            "compare": 4 + busy,
            "choose": 3 + busy,
            "note": 2 + busy,
            "offer": 1 + (self.bypass & ~self.has_buffer),
        }.items():
            with m.If(at[name]):
                m.d.comb += left.eq(of)
        waits = Signal(range(64))
        goes_on = dut.o.ready & (self.served | (self.unserved == 0))
        m.d.sync += waits.eq(Mux(dut.i.valid & ~dut.i.ready & goes_on, waits + 1, 0))
        longest = 10 + 6 * self.lookahead
        m.d.comb += [Assert(waits + left <= longest), Assert(waits < longest)]


SIZES = [
    ("next-use", 0, 2, 2),
    ("next-use", 0, 2, 3),
    ("next-use", 1, 1, 2),
    ("liveness", 1, 1, 2),
    ("lru", 0, 2, 2),
    ("none", 0, 0, 3),
]


@pytest.mark.parametrize(("policy", "hot", "cold", "lookahead"), SIZES)
def test_promises(require, policy, hot, cold, lookahead):
    require("yosys")
    claims = ControlClaims(policy=policy, hot=hot, cold=cold, lookahead=lookahead)
    design = emit(claims, name="claims")
    # One of two counters of this name.
    (count,) = set(re.findall(r"wire width 2 \\(n\$\d+)\n", design.rtlil))
    prove(design, depth=2, peek=claims.peek | {"n_bypassed": f"dut.{count}"})


@pytest.mark.parametrize("port", SEEN)
def test_what_is_promised_of_happens(require, port):
    require("yosys")
    claims = ControlClaims(policy="next-use", hot=0, cold=2, lookahead=2, eager=True)
    assert witness(emit(claims, name="claims"), port, depth=32) > 10
