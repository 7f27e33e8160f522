"""Stimuli of what a host talks to, and of what takes care of its calls."""

import random
from functools import partial

import numpy as np
from amaranth.hdl import Mux, Signal

from qkloom.rtl.control import Handshake, RegisterFile
from qkloom.rtl.kernel.overlap import OverlapCheck
from qkloom.rtl.kernel.supervisor import Supervisor
from qkloom.tb.packing import pack, unpack
from qkloom.tb.simulate import to_bits
from tests.rtl.control import test_file, test_handshake
from tests.rtl.kernel import test_intake, test_overlap, test_supervisor

from .flat import Flat
from .unit import Unit, frozen, noise, paced

__all__ = ["units"]

SET_AGAIN = "It is set before anybody looks at it: what it was in a reset does not matter."


def units():
    """Yield the units, one after the other."""
    file = Flat(part=RegisterFile, parameters=frozen(registers=test_file.REGISTERS))
    yield Unit(
        "register file",
        file,
        accesses(file),
        explained={
            f"{file.unit.module_name}: $auto$simple.cc:236:combine_resets$187, A[1] const0": (
                "A reset in the very cycle of an order would show it: testbenches give none then."
            ),
        },
    )
    handshake = Block(
        part=Handshake,
        parameters=frozen(arguments=test_handshake.ARGUMENTS, calls=test_handshake.CALLS),
    )
    yield Unit("handshake", handshake, orders(handshake), without=("queue_",))
    intake = test_intake.intake(gemm=True)
    name = intake.module_name
    yield Unit(
        "intake",
        intake,
        calls(intake),
        explained={
            f"{name}: $auto$simple.cc:194:make_patterns_logic$304, A[1] const0": (
                "The channels are the same in all cycles of the division: whichever of them they "
                "are taken in."
            ),
            f"{name}: $auto$simple.cc:194:make_patterns_logic$281, A[4] const1": (
                "Without a mistake nobody looks at the code, and the division sets it again."
            ),
            f"{name}: group = $sdffe, SRST[0] const0": SET_AGAIN,
        },
    )
    overlap = OverlapCheck(**test_overlap.CHECK, gemm=True)
    name = overlap.module_name
    same = "head_dim stays while a call is looked at, and may be taken in any state but one."
    yield Unit(
        "overlap check",
        overlap,
        places(overlap),
        explained={
            f"{name}: $auto$simple.cc:194:make_patterns_logic$630, A[2] const1": (
                "It is about states that there are none of."
            ),
            f"{name}: factor[2] = $sdffe, EN[0] inv": same,
            f"{name}: factor[1:0] = $sdffe, EN[0] const1": same,
            f"{name}: other_end_low = $dffe, Q[30] cnot1 with bit 0": (
                "Places are multiples of a beat's bytes."
            ),
        },
    )
    supervisor = Watched(part=Supervisor, parameters=frozen(timeout=test_supervisor.TIMEOUT))
    # States: works 0, halts 1, drains 2, clears 3, is new 4.
    claim = [
        "fsm_state <= 4 && discards == (fsm_state != 0) && (fsm_state != 3 || clears)",
        "(reset || fsm_state == 0 || fsm_state == 4)",
    ]
    yield Unit(
        "supervisor",
        supervisor,
        runs(supervisor),
        without=("queue_",),
        claims={"supervisor_": " && ".join(claim)},
        explained={
            f"{supervisor.unit.module_name}: $66, Y[3] cnot1 with bit 2": (
                "From 20 down to 0 the count takes all numbers, if in another order."
            ),
            f"{supervisor.unit.module_name}: $65, A[0] const1": (
                "At 0 the engine is stuck, or its call has ended: it does not matter how one goes "
                "on to count."
            ),
        },
    )


class Block(Flat):
    """A handshake, and a block that finishes no more calls than it took.

    In a reset the block forgets the calls that it has, once it says that it is as new.
    """

    def wire(self, m, name, inner, flow, levels):
        unit = self.unit
        if name == "call":
            self._running = running = Signal(8)
            takes = Signal()
            gives = Signal()
            m.d.comb += [
                takes.eq(unit.call.valid & unit.call.ready & ~unit.reset),
                gives.eq(unit.finished.valid & unit.finished.ready),
            ]
            m.d.sync += running.eq(Mux(unit.reset & unit.is_reset, 0, running + takes - gives))
        if name != "finished":
            super().wire(m, name, inner, flow, levels)
            return
        outer, is_open = self.finished, self._running != 0
        m.d.comb += [
            inner.valid.eq(outer.valid & is_open),
            inner.payload.eq(outer.payload),
            outer.ready.eq(inner.ready & is_open),
        ]


class Watched(Flat):
    """A supervisor, and an engine that has one call after the other.

    A call begins and ends when the stimulus says so, or ends when it is dropped; a reset is held
    until it is done.
    """

    def level(self, m, name, wanted):
        unit = self.unit
        if name == "runs":
            self._runs = runs = Signal()
            m.d.sync += runs.eq(Mux(unit.ends | unit.drops | unit.clears, 0, runs | wanted))
            return runs
        if name == "ends":
            return wanted & self._runs & ~unit.drops
        if name == "reset":
            resets = Signal()
            m.d.sync += resets.eq(Mux(unit.is_reset & ~wanted, 0, resets | wanted))
            return resets
        return wanted


def accesses(unit):
    """Write and read registers, and where there are none, while the status changes."""
    rng = np.random.default_rng(1)
    registers = [r.offset + 4 * k for r in test_file.REGISTERS for k in range(r.n_words)]
    known = [*registers, *test_file.UNMAPPED, *[0] * 8]
    n = 600
    shape = unit.bus_aw.payload.shape()
    sent = {
        "bus_aw": pack(shape, addr=rng.choice(known, n) + rng.integers(0, 4, n)),
        "bus_ar": pack(shape, addr=rng.choice(known, n) + rng.integers(0, 4, n)),
        "bus_w": pack(
            unit.bus_w.payload.shape(),
            data=rng.integers(0, 1 << 32, n),
            strb=rng.choice([15, 15, *range(16)], n),
        ),
    }

    def levels(rng):
        return noise(unit.levels.payload.shape(), 1000, rng)

    counts = {"bus_b": n, "bus_r": n}
    return paced(sent, counts, max_cycles=40_000, varied={"levels": levels})


def orders(unit):
    """Starts, acknowledgements, interrupts and resets at any time."""
    n = 800

    def levels(rng):
        shape = unit.levels.payload.shape()
        found = unpack(shape, noise(shape, n, rng))
        busy = float(rng.choice([0.05, 0.2, 0.6]))
        control = found["orders"]["control"]
        for name, share in {"ap_start": busy, "ap_continue": busy}.items():
            control[name] = (rng.random(n) < share).astype(int)
        found["orders"]["reads_control"] = (rng.random(n) < 0.3).astype(int)
        found["orders"]["resets"] = (rng.random(n) < 0.01).astype(int)
        found["is_reset"] = (rng.random(n) < 0.2).astype(int)
        for name in ("global_interrupt_enable", "interrupt_enable"):
            for field, bits in found["orders"][name].items():
                found["orders"][name][field] = np.repeat(bits[: n // 20], 20)
        for field in ("done", "ready"):
            found["orders"]["interrupt_status"][field] = (rng.random(n) < 0.2).astype(int)
        return pack(shape, **found)

    codes = np.random.default_rng(2).integers(0, 256, 2000)
    sent = {"finished": pack(unit.finished.payload.shape(), code=codes)}
    # There are more codes than calls: so a run ends with the orders.
    return paced(sent, {"call": None}, max_cycles=n, varied={"levels": levels})


def calls(unit):
    """Calls of both kinds that can be computed, each of those that cannot, two mistakes in one."""
    rng = random.Random(1)
    given = [test_intake.call(rng, chunks=rng.getrandbits(4)) for _ in range(80)]
    given += [test_intake.product(rng) for _ in range(80)]
    for make, refusals in (
        (test_intake.call, test_intake.REFUSALS + test_intake.BEYOND),
        (test_intake.product, test_intake.PRODUCT_REFUSALS),
    ):
        given += [make(**{"chunks": 1, **changes}) for changes, _ in refusals]
        mistakes = [changes for changes, _ in refusals]
        for _ in range(100):
            one, other = rng.sample(mistakes, 2)
            given.append(make(rng, **{"chunks": 1, **one, **other}))
    rng.shuffle(given)
    sent = {"i": np.array([test_intake.payload(unit, one) for one in given], object)}
    return paced(sent, {"o": None, "refused": None}, max_cycles=20_000)


def places(unit):
    """Calls of both kinds, about half of which overlap something."""
    benches = []
    for seed in range(4):
        rng = random.Random(seed)
        tasks = [test_overlap.random_task(rng, gemm=True) for _ in range(300)]
        sent = {"i": np.array([to_bits(unit.i.payload.shape(), task) for task in tasks], object)}
        counts = {"o": sum(not test_overlap.overlaps(task) for task in tasks)}
        counts["refused"] = len(tasks) - counts["o"]
        benches += paced(sent, counts, max_cycles=80_000)[:2]
    return benches


def runs(unit):
    """Calls that end, that are refused, that stand still, and resets in all of it."""
    n = 1200

    def levels(rng, number):
        rng = np.random.default_rng([number, rng.integers(1 << 32)])

        def seldom(share):
            return (rng.random(n) < share).astype(int)

        resets = rng.choice([0.0, 0.005, 0.02, 0.3])
        length = int(rng.choice([1, 4, 24, 40]))
        moves = np.repeat(rng.random(n // length + 1) < rng.choice([0.2, 0.5, 0.9]), length)[:n]
        fields = dict(
            runs=seldom(rng.choice([0.05, 0.3])),
            ends=seldom(rng.choice([0.01, 0.05, 0.3])),
            moves=moves.astype(int),
            failed=np.repeat(rng.choice([0, 2, 3], n // 10), 10),
            changed=np.repeat(rng.integers(0, 2, n // 8), 8),
            idle=seldom(rng.choice([0.1, 0.5, 1.0])),
            reset=seldom(resets),
        )
        # In the end all comes to rest.
        for name, value in {"runs": 0, "ends": 1, "moves": 1, "idle": 1, "reset": 0}.items():
            fields[name][-1] = value
        return pack(unit.levels.payload.shape(), **fields)

    codes = np.random.default_rng(3).integers(0, 256, 200)
    sent = {"refused": pack(unit.refused.payload.shape(), code=codes)}
    benches = []
    for number in range(3):  # in some of them, the first attempt ends in the middle of a reset
        varied = {"levels": partial(levels, number=number)}
        benches += paced(sent, {"finished": None}, max_cycles=9000, varied=varied)
    return benches
