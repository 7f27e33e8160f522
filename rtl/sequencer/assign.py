"""Giving the query blocks of a window to lanes: what has most jobs goes first."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index

__all__ = ["Assigner", "assigned_layout", "counted_layout"]


def counted_layout(*, shape: Any, jobs: int) -> data.StructLayout:
    """Return an item with its jobs, and whether its window ``ends`` with it."""
    return data.StructLayout({"item": shape, "jobs": range(jobs + 1), "ends": 1})


def assigned_layout(*, shape: Any, n_lanes: int, slots: int) -> data.StructLayout:
    """Return an item with its lane and slot, and whether its window ``ends`` with it."""
    return data.StructLayout(
        {"item": shape, "lane": index(n_lanes), "slot": index(slots), "ends": 1}
    )


class Assigner(Component):
    """Give each item of a window to a lane, ``per_lane`` to each at most, and to a slot of it.

    Of the items that are left the one with most jobs goes to the lane that has had fewest jobs so
    far and has room; of equal ones to the first. Lanes' jobs count on from window to window, so
    that a lane that was late in one is early in the next. Items leave in the order in which they
    came; a lane gives its slots away in turn.

    A window of n items takes ``n (n + n_lanes + 4)`` cycles from its last item to the last one that
    leaves: 1,000 for 24 items and 12 lanes, while lanes need thousands for a job.

    Parameters
    ----------
    shape : shape-like
        What is given away.
    n_lanes, slots, per_lane : int
        Lanes, slots of each, and how many of them a window fills.
    jobs : int
        Most jobs of an item.
    total : int
        Most jobs of a lane, between one reset of its count and the next.

    Members
    -------
    i : In(stream)
        :func:`counted_layout`; windows of ``n_lanes * per_lane`` items at most.
    forget : In(1)
        All lanes begin with no jobs, and with slot 0; while nothing is here.
    o : Out(stream)
        :func:`assigned_layout`.
    busy : Out(1)
        Items are here.

    Raises
    ------
    TypeError, ValueError
        When a number is not positive, or ``per_lane`` is more than ``slots``.
    """

    def __init__(
        self, *, shape: Any, n_lanes: int, slots: int, per_lane: int, jobs: int, total: int
    ) -> None:
        for name, value in {"Lanes": n_lanes, "Slots": slots, "Jobs": jobs, "Total": total}.items():
            check_count(name, value)
        check_count("Per lane", per_lane, most=slots)
        self._shape, self._n_lanes, self._slots = shape, n_lanes, slots
        self._per_lane, self._total = per_lane, total
        counted = counted_layout(shape=shape, jobs=jobs)
        super().__init__(
            {
                "i": In(stream.Signature(counted)),
                "forget": In(1),
                "o": Out(
                    stream.Signature(assigned_layout(shape=shape, n_lanes=n_lanes, slots=slots))
                ),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take in, look for the longest, look for the least busy, and give out."""
        m = Module()
        most = self._n_lanes * self._per_lane
        place = Signal(index(most))
        last_place = Signal(index(most))  # of the window
        left = Signal(range(most + 1))
        lane = Signal(index(self._n_lanes))

        m.submodules.items = items = Memory(shape=self._shape, depth=max(most, 2), init=[])
        w_item, r_item = items.write_port(), items.read_port(domain="comb")
        m.submodules.jobs = jobs = Memory(
            shape=self.i.payload.jobs.shape(), depth=max(most, 2), init=[]
        )
        w_jobs, r_jobs = jobs.write_port(), jobs.read_port(domain="comb")
        m.submodules.lanes = lanes = Memory(
            shape=Shape.cast(index(self._n_lanes)), depth=max(most, 2), init=[]
        )
        w_lane, r_lane = lanes.write_port(), lanes.read_port(domain="comb")
        of_lane = data.StructLayout({"load": range(self._total + 1), "slot": index(self._slots)})
        m.submodules.state = state = Memory(shape=of_lane, depth=max(self._n_lanes, 2), init=[])
        w_state, r_state = state.write_port(), state.read_port(domain="comb")
        has = Signal(of_lane)
        next_slot = Signal.like(has.slot)

        waits = Signal(most)  # places without a lane
        rooms = [Signal(range(self._per_lane + 1), name=f"room_{k}") for k in range(self._n_lanes)]
        has_room = Signal(self._n_lanes)
        longest, its_place = Signal.like(r_jobs.data), Signal.like(place)
        least, its_lane = Signal.like(has.load), Signal.like(lane)
        found = Signal()
        m.d.comb += [
            w_item.addr.eq(place),
            w_item.data.eq(self.i.payload.item),
            r_item.addr.eq(place),
            w_jobs.addr.eq(place),
            w_jobs.data.eq(self.i.payload.jobs),
            r_jobs.addr.eq(place),
            w_lane.addr.eq(its_place),
            w_lane.data.eq(its_lane),
            r_lane.addr.eq(place),
            has.eq(r_state.data),
            r_state.addr.eq(lane),
            w_state.addr.eq(lane),
            next_slot.eq(Mux(has.slot == self._slots - 1, 0, has.slot + 1)),
            *(has_room[k].eq(room.any()) for k, room in enumerate(rooms)),
            self.o.payload.item.eq(r_item.data),
            self.o.payload.lane.eq(r_lane.data),
            self.o.payload.slot.eq(has.slot),
            self.o.payload.ends.eq(place == last_place),
        ]
        is_longer, is_less = Signal(), Signal()
        m.d.comb += [
            is_longer.eq(waits.bit_select(place, 1) & (~found | (r_jobs.data > longest))),
            is_less.eq(has_room.bit_select(lane, 1) & (~found | (has.load < least))),
        ]
        at_last_lane = Signal()
        m.d.comb += at_last_lane.eq(lane == self._n_lanes - 1)
        m.d.comb += self.busy.eq(1)

        with m.FSM(init="forget"):
            with m.State("forget"):
                m.d.comb += [w_state.en.eq(1), w_state.data.eq(0)]
                m.d.sync += lane.eq(Mux(at_last_lane, 0, lane + 1))
                with m.If(at_last_lane):
                    m.next = "fill"
            with m.State("fill"):
                m.d.comb += [self.i.ready.eq(~self.forget), self.busy.eq(place != 0)]
                m.d.sync += [*(room.eq(self._per_lane) for room in rooms), waits.eq(-1)]
                with m.If(self.forget):
                    m.next = "forget"
                with m.Elif(self.i.valid):
                    m.d.comb += [w_item.en.eq(1), w_jobs.en.eq(1)]
                    m.d.sync += [place.eq(place + 1), left.eq(left + 1)]
                    with m.If(self.i.payload.ends):
                        m.d.sync += [last_place.eq(place), place.eq(0), found.eq(0)]
                        m.next = "longest"
            with m.State("longest"):
                with m.If(is_longer):
                    m.d.sync += [longest.eq(r_jobs.data), its_place.eq(place), found.eq(1)]
                m.d.sync += place.eq(place + 1)
                with m.If(place == last_place):
                    m.d.sync += [place.eq(0), found.eq(0), lane.eq(0)]
                    m.next = "least"
            with m.State("least"):
                with m.If(is_less):
                    m.d.sync += [least.eq(has.load), its_lane.eq(lane), found.eq(1)]
                m.d.sync += lane.eq(lane + 1)
                with m.If(at_last_lane):
                    m.next = "turn"
            with m.State("turn"):
                m.d.sync += [lane.eq(its_lane), left.eq(left - 1), found.eq(0)]
                m.next = "give"
            with m.State("give"):
                m.d.comb += [
                    w_lane.en.eq(1),
                    w_state.en.eq(1),
                    w_state.data.load.eq(has.load + longest),
                    w_state.data.slot.eq(has.slot),
                ]
                m.d.sync += waits.bit_select(its_place, 1).eq(0)
                for k, room in enumerate(rooms):
                    with m.If(its_lane == k):
                        m.d.sync += room.eq(room - 1)
                m.next = "longest"
                with m.If(left == 0):
                    m.next = "read"
            with m.State("read"):
                m.d.sync += lane.eq(r_lane.data)
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += [
                        w_state.en.eq(1),
                        w_state.data.load.eq(has.load),
                        w_state.data.slot.eq(next_slot),
                    ]
                    m.d.sync += place.eq(place + 1)
                    m.next = "read"
                    with m.If(self.o.payload.ends):
                        m.d.sync += [place.eq(0), lane.eq(0)]
                        m.next = "fill"
        return m
