"""Stimuli of the stream parts and of the buffers."""

import numpy as np
from amaranth.lib import data

from qkloom.rtl.buffer.tile import TileBuffer
from qkloom.rtl.buffer.transpose import Transposer
from qkloom.rtl.formats import Integer
from qkloom.rtl.lane.probability import ProbabilityBuffer
from qkloom.rtl.stream import Fork, Gather, Join, Merge, Multicast, Queue, RegisterSlice, Route
from qkloom.rtl.stream.crossing import LineReceiver, LineSender
from qkloom.tb.packing import pack
from qkloom.tb.stalls import Stall
from qkloom.tb.testbench import Stimulus, Testbench

from .harness import CreditLoop, Line, LoadedQueries, Scripted, Surrounded
from .unit import BEHIND, UNSENT, Unit, counted, frozen, one_chosen, paced, played

__all__ = ["units"]

WIDTH = 8
N_ITEMS = 150
FIELDS = "abcdefghijklmnopqrstuvwx"


def units():
    """Yield the units, one after the other."""
    queue = Surrounded(part=Queue, parameters=frozen(shape=WIDTH, depth=5))
    flags = "has_some == (level != 0) && has_room == (level != 5)"
    claims = {"queue_": f"level <= 5 && storage__w_addr < 5 && storage__r_addr < 5 && {flags}"}
    yield Unit("queue", queue, through(queue), claims=claims)
    queue = Surrounded(part=Queue, parameters=frozen(shape=WIDTH, depth=4, registered=True))
    claims = {"queue_": "level <= 4 && fetched <= level && i__ready == (level != 4)"}
    yield Unit("queue, registered", queue, through(queue), claims=claims)
    for mode in ("full", "reverse"):
        unit = RegisterSlice(shape=WIDTH, mode=mode)
        yield Unit(f"register slice, {mode}", unit, through(unit))
    fork = Fork(shape=WIDTH, n=3)
    counts = {f"o__{k}": N_ITEMS for k in range(3)}
    yield Unit("fork", fork, paced({"i": items()}, counts, max_cycles=5000))
    multicast = Multicast(shape=WIDTH, n=3)
    masks = random(3).integers(0, 8, N_ITEMS)
    counts = {f"o__{k}": int((masks >> k & 1).sum()) for k in range(3)}
    sent = {"i": pack(multicast.i.payload.shape(), to=masks, item=items())}
    yield Unit("multicast", multicast, paced(sent, counts, max_cycles=5000))
    yield Unit("route", route := Route(shape=WIDTH, n=5), routed(route))
    join = Join(shape=data.StructLayout({name: 3 for name in FIELDS}))
    yield Unit("join", join, joined())
    sent = {f"i__{k}": items(k) for k in range(3)}
    merge = Merge(shape=WIDTH, n=3)
    benches = paced(sent, {"o": 3 * N_ITEMS}, max_cycles=9000)
    yield Unit("merge", merge, benches, claims={"merge_": one_chosen(3)})
    sent = {f"i__{k}": items(k) for k in range(10)}
    gather = Gather(shape=WIDTH, n=10)
    benches = paced(sent, {"o": 10 * N_ITEMS}, max_cycles=30_000)
    turns = {"merge_shape8_n4": 4, "merge_shape8_n2": 2, "merge_10b_n3": 3}
    claims = {name: one_chosen(n) for name, n in turns.items()}
    yield Unit("gather", gather, benches, claims=claims)
    loop = CreditLoop(width=WIDTH, credits=5, cycles=2)
    yield Unit("credit gate", loop, through(loop))
    for name, part in (("line sender", LineSender), ("line receiver", LineReceiver)):
        line = Line(part=part, shape=WIDTH)
        resets = [f"{line.unit.module_name}: sll_{of}, rst[0] const0" for of in ("valid", "credit")]
        resets = resets if part is LineReceiver else []
        resets.append("line_register_shape1: q = $sdff, SRST[0] const0")
        yield Unit(
            name,
            line,
            through(line),
            without=("queue_", "credit_gate_"),
            explained=dict.fromkeys(resets, UNSENT),
        )

    buffer = TileBuffer(size=4, tiles=3)
    claim = [
        "n_free + n_full + was_filled + was_freed == 2",
        "i__ready == (n_free != 0) && full_has_some == (n_full != 0)",
    ]
    yield Unit(
        "tile buffer",
        buffer,
        tiles(buffer),
        without=("queue_",),
        claims={"tile_buffer_": " && ".join(claim)},
        explained={
            f"{buffer.module_name}: $61, Y[1] const0": (
                "Of 0, 1 and 2 free strips the count only has to tell 1 from the others."
            ),
        },
    )
    transposer = Transposer(size=4, element=Integer(3))
    tiles_in = random(6).integers(-4, 4, (80, 4))
    sent = {"i": pack(transposer.i.payload.shape(), tiles_in)}
    benches = paced(sent, {"o": len(tiles_in)}, max_cycles=3000)
    yield Unit("transposer", transposer, benches, without=("queue_",))
    queries = LoadedQueries(size=4, block_rows=3, head_dim=16, slots=2)
    # Bits of a load: slot 0, rows 2:1, d_tiles 5:3.
    claim = "load__valid && row < load__payload[2:1] && tile < load__payload[5:3]"
    of_rows = counted("row", "load__payload[2:1]", width=2)
    counts = f"{of_rows} && {counted('tile', 'load__payload[5:3]', width=3)}"
    promise = "load__payload[2:1] != 0 && load__payload[5:3] != 0 && load__payload[5:3] <= 4"
    yield Unit(
        "query buffer",
        queries,
        loads(queries),
        claims={"query_buffer_": f"(row == 0 && tile == 0 || {claim}) && {counts}"},
        promises={"query_buffer_": promise},
        explained={
            f"{queries.unit.module_name}: {place}": BEHIND
            for place in (
                "row_ahead = $sdffe, D[0] cnot0 with bit 1",
                "row_ahead = $sdffe, D[1] const1",
                "$43, Y[0] cnot0 with bit 1",
            )
        },
    )
    probabilities = Scripted(
        part=ProbabilityBuffer, parameters=frozen(size=4, block_rows=3, row_width=2, digits=2)
    )
    yield Unit("probability buffer", probabilities, played(probabilities, in_rows()))


def random(seed):
    """Return a generator of its own for each unit."""
    return np.random.default_rng(seed)


def items(seed=0):
    """Return random items; those with all bits equal, too."""
    found = random(seed).integers(0, 1 << WIDTH, N_ITEMS)
    found[::17] = 0
    found[1::17] = (1 << WIDTH) - 1
    return found


def through(unit):
    """Send items that come out as they went in."""
    return paced({"i": items()}, {"o": N_ITEMS}, max_cycles=5000)


def routed(unit):
    """Send to everybody; and, at the end of one run, to somebody who does not exist."""
    n = unit.parameters["n"]
    to = random(1).integers(0, n, N_ITEMS)
    counts = {f"o__{k}": int((to == k).sum()) for k in range(n)}
    shape = unit.i.payload.shape()
    benches = paced({"i": pack(shape, to=to, item=items())}, counts, max_cycles=5000)
    for nobody in range(n, 8):
        sent = pack(shape, to=np.append(to, nobody), item=np.append(items(), 90))
        stimulus = Stimulus(sent, Stall(0.7))
        benches.append(Testbench(inputs={"i": stimulus}, outputs={}, max_cycles=5 * N_ITEMS))
    return benches


def joined():
    """Let all inputs wait, each one at a time, for those that stall."""
    sent = {f"i_{name}": random(k).integers(0, 8, N_ITEMS) for k, name in enumerate(FIELDS)}
    benches = paced(sent, {"o": N_ITEMS}, max_cycles=9000)
    for late in sent:
        benches += paced(
            sent, {"o": N_ITEMS}, max_cycles=9000, steady=[x for x in sent if x != late]
        )[1:3]
    return benches


def tiles(unit):
    """Send strips of every width; read their tiles in any order, some of them twice."""
    rng = random(4)
    size, most = unit.parameters["size"], unit.parameters["tiles"]
    widths = [most, 1, *rng.integers(1, most + 1, 12), most]
    last = np.concatenate([np.tile(np.arange(w) == w - 1, size) for w in widths])
    reads, releases = [], []
    for width in widths:
        order = [*rng.permutation(width), *rng.integers(0, width, rng.integers(0, 2))]
        reads += order
        releases += [0] * (len(order) - 1) + [1]
    sent = {
        "i": pack(
            unit.i.payload.shape(),
            row=rng.integers(-128, 128, (len(last), size)),
            last=last.astype(int),
        ),
        "read": pack(unit.read.payload.shape(), tile=np.array(reads), release=np.array(releases)),
    }
    counts = {"o": len(reads) * size}
    # Also pauses in which a whole strip is filled, or read, and both are free again.
    long = paced(sent, counts, max_cycles=30_000, lengths=(20, 60))
    return paced(sent, counts, max_cycles=9000) + long


def loads(unit):
    """Load query blocks of every size into alternating slots, and read all of each."""
    rng = random(5)
    parameters = unit.unit.parameters
    most_rows, most_tiles = parameters["block_rows"], parameters["head_dim"] // parameters["size"]
    blocks = [
        (
            k % 2 if k < 16 else int(rng.integers(2)),
            rng.integers(1, most_rows + 1),
            rng.integers(1, most_tiles + 1),
        )
        for k in range(24)
    ]
    slot, rows, tiles = np.array(blocks).T
    addresses, ends = [], []
    for _, n_rows, n_tiles in blocks:
        within = [row * most_tiles + tile for row in range(n_rows) for tile in range(n_tiles)]
        addresses += list(rng.permutation(within))
        ends += [0] * (len(within) - 1) + [1]
    n = int((rows * tiles).sum())
    sent = {
        "load": pack(unit.load.payload.shape(), slot=slot, rows=rows, d_tiles=tiles),
        "i": pack(unit.i.payload.shape(), rng.integers(-128, 128, (n, parameters["size"]))),
        "read": pack(unit.read.payload.shape(), address=np.array(addresses), last=np.array(ends)),
    }
    return paced(sent, {}, max_cycles=4000)


def in_rows():
    """Fill both banks; then write parts of rows, and read others."""
    rng = random(6)
    places = [(bank, row, chunk) for bank in range(2) for row in range(3) for chunk in range(2)]
    script = [_put(*place) for place in places]
    for _ in range(500):
        bank, row, chunk = places[rng.integers(len(places))]
        item = _put(bank, row, chunk) if rng.random() < 0.5 else {}
        other = places[rng.integers(len(places))]
        if rng.random() < 0.7 and (other[:2] != (bank, row) or not item):
            item |= {"r__en": 1, "r__bank": other[0], "r__row": other[1]}
        script.append(item)
    return script


def _put(bank, row, chunk):
    return {
        "w__valid": 1,
        "w__payload.bank": bank,
        "w__payload.row": row,
        "w__payload.chunk": chunk,
    }
