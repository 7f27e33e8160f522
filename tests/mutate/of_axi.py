"""Stimuli of what moves data over AXI, and of the registers of a host."""

from random import Random

import numpy as np

from qkloom.rtl.axi import ReadManager, ReadShare, WriteManager, WriteShare
from qkloom.tb.packing import pack
from tests.rtl.axi import test_read

from .flat import Flat, OnMemory
from .unit import Unit, frozen, paced

__all__ = ["halting", "units"]

MANAGER = {"address_width": 40, "data_width": 32, "longest": 40, "burst": 8, "outstanding": 3}
PARTS = ("queue_", "register_slice_")
WIDTHS = {"address_width": 12, "data_width": 16}


def units():
    """Yield the units, one after the other."""
    reader = OnMemory(part=ReadManager, parameters=frozen(**MANAGER, ahead=20))
    name = reader.unit.module_name
    yield Unit(
        "read manager",
        reader,
        reads(reader),
        without=PARTS,
        explained={
            "burst_gate_address_width40_credits20_held20: "
            "$auto$opt_expr.cc:277:group_cell_inputs$246, A[0] cnot1 with bit 3": (
                "Here a burst has eight beats at most, and its length less one three bits."
            ),
            f"{name}: gate, held[1] const0": (
                "There are 20 credits: 22, which would look the same, there never are."
            ),
            f"{name}: idle = $sdff, SRST[0] const0": (
                "A manager that is idle when it is reset says so a cycle earlier."
            ),
        },
    )
    writer = OnMemory(part=WriteManager, parameters=frozen(**MANAGER, ahead=12))
    yield Unit(
        "write manager",
        writer,
        writes(writer),
        without=PARTS,
        explained={
            f"{writer.unit.module_name}: $44, A[6] const0": (
                "Here a burst has eight beats at most; lengths have 9 bits for those of 256."
            ),
        },
    )
    parts = (*PARTS, "gather_", "merge_", "fork_")
    share = Flat(part=ReadShare, parameters=frozen(n=4, **WIDTHS))
    yield Unit("read share", share, shared_reads(share), without=parts)
    share = Flat(part=WriteShare, parameters=frozen(n=4, **WIDTHS))
    yield Unit("write share", share, shared_writes(share), without=parts)


def halting(unit, n, *, ends=0, for_good=False, **fixed):
    """Return how to make the inputs that stay: memory answers now and then, and there are halts.

    Parameters
    ----------
    unit : OnMemory
        With ``halt``.
    n : int
        Cycles.
    ends : int
        Whether the last halt does not end, so that all that is left is dropped.
    for_good : bool
        Whether no halt ends.
    fixed : int or array
        Other inputs by name, the same in all cycles or one for each.
    """

    def make(rng):
        answers, halt = np.ones(n, int), np.zeros(n, int)
        length = int(rng.choice([1, 3, 8, 40]))
        share = float(rng.choice([0.0, 0.1, 0.5, 0.8]))
        answers = np.repeat(rng.random(n // length + 1) >= share, length)[:n].astype(int)
        if for_good and rng.random() < 0.6:
            halt[rng.integers(n // 2) :] = 1
        if not for_good and rng.random() < 0.8:
            for begin in rng.integers(5, n, 6):
                halt[begin : begin + int(rng.choice([1, 2, 10]))] = 1
        answers[-100:] = 1
        if not for_good:
            halt[-100:] = 0
            halt[-1] = ends
        return pack(unit.levels.payload.shape(), answers=answers, halt=halt, **fixed)

    return make


def commands(unit, n, *, seed, region=0):
    """Return commands across blocks, pages, and the end of the lower half of an address."""
    rng = Random(seed)
    found = test_read.random_commands(rng, n, longest=MANAGER["longest"], beat_bytes=4)
    addr, beats = np.array(found).T
    return pack(unit.i.payload.shape(), addr=addr + (region << 38), beats=beats)


def reads(unit):
    """Commands of all lengths, halts, and each response, for the rest of a run."""
    benches = []
    counts = {"o": None, "bus_ar": None}
    for region in range(4):
        sent = [commands(unit, 30, seed=region), commands(unit, 20, seed=9, region=region)]
        sent.append(commands(unit, 20, seed=region, region=region ^ 1))
        varied = {"levels": halting(unit, 1200)}
        sent = {"i": np.concatenate(sent)}
        benches += paced(sent, counts, max_cycles=20_000, varied=varied)[: 12 if region == 2 else 4]
    return benches


def writes(unit):
    """Commands of all lengths, with data enough, halts, and each response."""
    benches = []
    counts = {"bus_aw": None, "bus_w": None}
    for region in range(4):
        sent = [commands(unit, 30, seed=region), commands(unit, 20, seed=9, region=region)]
        sent.append(commands(unit, 20, seed=region, region=region ^ 1))
        n, rng = 1500, np.random.default_rng(region)
        beats = pack(
            unit.data.payload.shape(),
            data=rng.integers(0, 1 << 32, n),
            strb=rng.integers(0, 16, n),
        )
        varied = {"levels": halting(unit, n, ends=1)}
        sent = {"i": np.concatenate(sent), "data": beats}
        benches += paced(sent, counts, max_cycles=20_000, varied=varied)[: 12 if region == 2 else 4]
    return benches


def addresses(unit, name, n, seed, lengths=None):
    """Return requests at random."""
    rng = np.random.default_rng(seed)
    length = rng.integers(0, 256, n) if lengths is None else np.asarray(lengths)
    return pack(
        getattr(unit, name).payload.shape(),
        id=0,
        addr=rng.integers(0, 1 << WIDTHS["address_width"], n),
        len=length,
        size=rng.integers(0, 8, n),
        burst=rng.integers(0, 3, n),
    )


def shared_reads(unit):
    """Requests of all managers, and answers to any of them, beat by beat."""
    rng = np.random.default_rng(1)
    n, n_answers = 60, 300
    sent = {f"manager_{k}_ar": addresses(unit, f"manager_{k}_ar", n, k) for k in range(4)}
    to = rng.integers(0, 4, n_answers)
    sent["bus_r"] = pack(
        unit.bus_r.payload.shape(),
        id=to,
        data=rng.integers(0, 1 << 16, n_answers),
        resp=rng.integers(0, 4, n_answers),
        last=rng.integers(0, 2, n_answers),
    )
    counts = {f"manager_{k}_r": int((to == k).sum()) for k in range(4)} | {"bus_ar": 4 * n}
    return paced(sent, counts, max_cycles=15_000)


def shared_writes(unit):
    """Bursts of all managers with their data, long and short, and answers to any of them."""
    rng = np.random.default_rng(2)
    n, n_answers = 40, 120
    sent = {}
    total = 0
    for k in range(4):
        lengths = rng.choice([0, 0, 1, 2, 7, 12], n)
        last = np.concatenate([np.arange(m + 1) == m for m in lengths]).astype(int)
        sent[f"manager_{k}_aw"] = addresses(unit, f"manager_{k}_aw", n, k, lengths)
        sent[f"manager_{k}_w"] = pack(
            getattr(unit, f"manager_{k}_w").payload.shape(),
            data=rng.integers(0, 1 << 16, len(last)),
            strb=rng.integers(0, 4, len(last)),
            last=last,
        )
        total += len(last)
    to = rng.integers(0, 4, n_answers)
    sent["bus_b"] = pack(unit.bus_b.payload.shape(), id=to, resp=rng.integers(0, 4, n_answers))
    counts = {f"manager_{k}_b": int((to == k).sum()) for k in range(4)}
    counts |= {"bus_aw": 4 * n, "bus_w": total}
    return paced(sent, counts, max_cycles=20_000)
