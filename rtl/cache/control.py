"""Deciding where KV blocks are: hits, fetches, what leaves, and what is kept nowhere."""

from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from ..stream import Queue
from ..stream.level import count_level
from .tournament import Tournament
from .visit import BYPASSES, EVENTS, check_cache, decision_layout, visit_layout

__all__ = ["CacheControl"]

_AGE = 24
"""Bits of the number of a visit, where the oldest one leaves."""


class CacheControl(Component):
    """Give each visit a slot for its KV block, in the order in which visits will be served.

    ::

        visits --> retire the oldest granted one --> look up --> hit --------+--> decisions
                        |                               +--> fetch, evict ---+
                        +--> records, one per slot <----+--> or bypass ------+

    A visit is *granted* when it is decided about, and *retired* when ``lookahead`` later ones come:
    its block has left for the lanes by then, for which the control waits. So decisions follow from
    the order of visits alone, and never from time: every latency gives the same hits. A slot with a
    granted visit is pinned. A block that nobody needs any more frees its slot when its last visit
    is retired. :class:`~qkloom.tb.cache.exact.ExactCache` says which slot a block gets.

    What leaves for another block is found by a tournament of the slots' keys for each tier. A
    visit takes 5 cycles, a hit one less, and 4 for each level of its tournament: 45 with 1,024
    slots, while lanes need thousands for a block.

    Parameters
    ----------
    policy : str
        One of :data:`~qkloom.rtl.cache.visit.POLICIES`.
    hot, cold : int
        Slots of the tiers. A hot block gets a hot slot if one is free, another a cold one. With
        ``liveness`` a block that is not hot gets no other (FAST-Prefill); with the others any slot
        that is free goes before one that is not.
    blocks, heads, windows : int
        Most KV blocks of a head, KV heads and windows of a call.
    lookahead : int
        Visits that are granted at a time, 1 or more.

    Members
    -------
    i : In(stream)
        Visits: :func:`~qkloom.rtl.cache.visit.visit_layout`.
    ends : In(1)
        No visit comes any more: granted ones are retired as they are served.
    o : Out(stream)
        :func:`~qkloom.rtl.cache.visit.decision_layout`, a visit each.
    served : In(1)
        The oldest visit that was not served has been.
    events : Out
        What became of a visit, in the cycle behind its decision:
        :data:`~qkloom.rtl.cache.visit.EVENTS`.
    idle : Out(1)
        No visit is granted.

    Raises
    ------
    TypeError, ValueError
        When the policy is unknown, or a number is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        policy: str,
        hot: int,
        cold: int,
        blocks: int,
        heads: int,
        windows: int,
        lookahead: int,
    ) -> None:
        check_cache(**self.parameters)
        self._policy, self._lookahead, self._blocks = policy, lookahead, blocks
        self._hot, self._slots = hot, hot + cold
        self._tiers = {"cold": cold, "hot": hot} if policy != "none" else {}
        shape = {"blocks": blocks, "heads": heads}
        visit = visit_layout(**shape, windows=windows)
        self._record = data.StructLayout(
            {
                "held": 1,
                "dead": 1,
                "pins": range(lookahead + 1),
                "head": visit["head"].shape,
                "block": visit["block"].shape,
                "order": _AGE if policy == "lru" else visit["next"].shape,
            }
        )
        # All bits set: the slot is free. None: its block cannot leave.
        self._key_width = {
            "next-use": 1 + ceil_log2(windows + 1) + ceil_log2(max(blocks, 2)),
            "lru": 1 + _AGE,
        }.get(policy, 1)
        super().__init__(
            {
                "i": In(stream.Signature(visit)),
                "ends": In(1),
                "o": Out(stream.Signature(decision_layout(slots=self._slots, **shape))),
                "served": In(1),
                "events": Out(EVENTS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Retire, look up, choose, note; a state for each memory that is read."""
        m = Module()
        visit, given = self.i.payload, self.o.payload
        kept = data.StructLayout({"kept": 1, "slot": index(self._slots)})
        m.submodules.granted = granted = Queue(shape=kept, depth=self._lookahead)
        oldest, newest = granted.o.payload, granted.i.payload
        has_served = self._count_served(m, granted)
        full = Signal()
        m.d.comb += full.eq(granted.level == self._lookahead)
        m.d.comb += self.idle.eq(~granted.o.valid)

        m.submodules.place = place = Memory(
            shape=index(self._slots), depth=max(self._blocks, 2), init=[]
        )
        m.submodules.records = records = Memory(
            shape=self._record, depth=max(self._slots, 2), init=[]
        )
        w_place, r_place = place.write_port(), place.read_port()
        w_record, r_record = records.write_port(), records.read_port()
        record = Signal(self._record, reset_less=True)  # that is written
        found = Signal(self._record)
        slot = Signal(index(self._slots))
        age = Signal(_AGE)
        changes = stream.Signature(self._key_width).create()
        best = self._rank(m, slot, changes)
        m.d.comb += [
            found.eq(r_record.data),
            r_place.addr.eq(visit.block),
            # The block that is noted, and not the visit's: of a memory with one address for both,
            # Yosys makes cells that UltraScale has not.
            w_place.addr.eq(record.block),
            w_place.data.eq(slot),
            r_record.addr.eq(r_place.data),
            w_record.addr.eq(slot),
            w_record.data.eq(record),
        ]

        # What the block's record is to be, once it has been granted.
        fresh = Signal(self._record)
        m.d.comb += [
            fresh.held.eq(1),
            fresh.dead.eq(visit.dead),
            fresh.pins.eq(1),
            fresh.head.eq(visit.head),
            fresh.block.eq(visit.block),
            fresh.order.eq(~age if self._policy == "lru" else visit.next),
        ]
        is_here = Signal()
        m.d.comb += is_here.eq(
            found.held & (found.block == visit.block) & (found.head == visit.head)
        )
        tier = Signal(2)  # of the slot: cold, hot
        bypass = Signal()
        fetches = Signal()
        evicts = Signal()
        buffer = Signal(range(BYPASSES))
        has_buffer = self._count_bypasses(m, bypass)
        events = Signal(EVENTS)
        m.d.comb += tier.eq(Mux(slot < self._hot, 2, 1))
        m.d.sync += [self.events.eq(0)]
        m.d.comb += [
            given.fetch.eq(fetches),
            given.head.eq(visit.head),
            given.block.eq(visit.block),
            given.slot.eq(Mux(bypass, self._slots + buffer, slot)),
            newest.kept.eq(~bypass),
            newest.slot.eq(slot),
            events.hit.eq(Mux(fetches, 0, tier)),
            events.fill.eq(Mux(fetches & ~bypass, tier, 0)),
            events.evict.eq(Mux(evicts, tier, 0)),
            events.bypass.eq(bypass),
        ]
        cleared = Signal(range(max(self._slots, 2) + 1))
        key = changes.payload

        with m.FSM(init="clear"):
            with m.State("clear"):  # no slot holds anything
                m.d.comb += [w_record.addr.eq(cleared), w_record.data.eq(0), w_record.en.eq(1)]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == max(self._slots, 2) - 1):
                    m.next = "rest"
            with m.State("rest"):
                m.d.sync += slot.eq(oldest.slot)
                m.d.comb += r_record.addr.eq(oldest.slot)
                with m.If(has_served & (self.ends | (self.i.valid & full))):
                    m.d.comb += granted.o.ready.eq(1)
                    with m.If(oldest.kept):
                        m.next = "retire"
                with m.Elif(self.i.valid & ~full):
                    m.next = "look"
            with m.State("retire"):
                m.d.sync += record.eq(found)
                m.d.sync += record.pins.eq(found.pins - 1)
                with m.If(found.pins == 1):
                    m.d.sync += record.held.eq(~found.dead)
                    m.d.sync += key.eq(Mux(found.dead, -1, self._key_of(found)))
                with m.Else():
                    m.d.sync += key.eq(0)
                m.next = "let go"
            with m.State("let go"):
                m.d.comb += [w_record.en.eq(1), changes.valid.eq(1)]
                with m.If(changes.ready):
                    m.next = "rest"
            with m.State("look"):
                m.next = "compare"
            with m.State("compare"):
                m.d.sync += [
                    slot.eq(r_place.data),
                    record.eq(fresh),
                    key.eq(0),
                    bypass.eq(0),
                    evicts.eq(0),
                    fetches.eq(~is_here),
                ]
                m.next = "choose"
                with m.If(is_here):
                    m.d.sync += record.pins.eq(found.pins + 1)
                    m.next = "note"
                if self._policy == "none":
                    m.d.sync += bypass.eq(1)
                    m.next = "offer"
            with m.State("choose"), m.If(changes.ready):
                m.next = "note"
                with m.If(~self._choose(m, best, slot, evicts)):
                    m.d.sync += bypass.eq(1)
                    m.next = "offer"
            with m.State("note"):
                m.d.comb += [w_record.en.eq(1), w_place.en.eq(1), changes.valid.eq(1)]
                with m.If(changes.ready):
                    m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(~bypass | has_buffer)
                with m.If(self.o.valid & self.o.ready):
                    m.d.comb += [granted.i.valid.eq(1), self.i.ready.eq(1)]
                    m.d.sync += [self.events.eq(events), age.eq(age + 1)]
                    with m.If(bypass):
                        m.d.sync += buffer.eq(Mux(buffer == BYPASSES - 1, 0, buffer + 1))
                    m.next = "rest"
        return m

    def _count_served(self, m: Module, granted: Queue) -> Signal:
        """Return whether the oldest granted visit has been served."""
        n = Signal(range(self._lookahead + 1))
        goes = granted.o.valid & granted.o.ready
        return count_level(m, n, most=self._lookahead, comes=self.served, goes=goes).has_some

    def _count_bypasses(self, m: Module, bypass: Signal) -> Signal:
        """Return whether a buffer is free for a block that is kept nowhere."""
        m.submodules.kinds = kinds = Queue(shape=1, depth=self._lookahead)
        n = Signal(range(BYPASSES + 1))
        m.d.comb += [
            kinds.i.payload.eq(bypass),
            kinds.i.valid.eq(self.o.valid & self.o.ready),
            kinds.o.ready.eq(self.served),
        ]
        comes = kinds.i.valid & bypass
        goes = self.served & kinds.o.payload
        return count_level(m, n, most=BYPASSES, comes=comes, goes=goes, name="bypass_").has_room

    def _rank(self, m: Module, slot: Signal, changes: Any) -> dict[str, tuple[Value, Value]]:
        """Keep the slots' keys; return slot and key of the best one of each tier."""
        best = {}
        ready = Signal()
        m.d.comb += [ready.eq(1), changes.ready.eq(ready)]
        for tier, n in self._tiers.items():
            if not n:
                continue
            m.submodules[tier] = ranked = Tournament(slots=n, key_width=self._key_width)
            first = self._hot if tier == "cold" else 0
            is_mine = (slot < self._hot) == (tier == "hot")
            m.d.comb += [
                ranked.i.payload.slot.eq(slot - first),
                ranked.i.payload.key.eq(changes.payload),
                ranked.i.valid.eq(changes.valid & changes.ready & is_mine),
            ]
            with m.If(~ranked.settled):
                m.d.comb += ready.eq(0)
            best[tier] = ranked.best.slot + first, ranked.best.key
        return best

    def _key_of(self, record: Any) -> ValueLike:
        """Return how soon a block may leave, of which somebody needs more: 0, never."""
        if self._policy == "next-use":
            return Cat(record.block, record.order, Const(0, 1))
        return Cat(record.order, Const(0, 1)) if self._policy == "lru" else 0

    def _choose(
        self, m: Module, best: dict[str, tuple[Value, Value]], slot: Signal, evicts: Signal
    ) -> Value:
        """Choose a slot for a block that has none; return whether it gets one."""
        visit = self.i.payload
        is_free = {tier: best[tier][1].all() if tier in best else Const(0) for tier in self._tiers}
        if not is_free:
            return Const(0)
        others = self._policy != "liveness"
        takes = {
            "hot": is_free["hot"] & (visit.hot | (~is_free["cold"] & others)),
            "cold": is_free["cold"] & ~(visit.hot & is_free["hot"]),
        }
        may_evict: ValueLike = 0
        if others:
            (victim, key), *more = best.values()
            for number, (other, other_key) in enumerate(more):
                is_larger = Signal(name=f"is_larger_{number}")
                m.d.comb += is_larger.eq(other_key > key)
                victim, key = Mux(is_larger, other, victim), Mux(is_larger, other_key, key)
            m.d.sync += slot.eq(victim)
            may_evict = key.any()
            if self._policy == "next-use":
                mine = Cat(visit.block, visit.next, Const(0, 1))
                may_evict = ~visit.dead & (key > mine)
        for tier, takes_it in takes.items():
            with m.If(takes_it):
                m.d.sync += slot.eq(best[tier][0] if tier in best else 0)
        finds = takes["hot"] | takes["cold"]
        m.d.sync += evicts.eq(~finds & may_evict)
        return finds | may_evict
