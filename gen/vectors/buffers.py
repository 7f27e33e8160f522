"""Test vectors of buffers, and of what fills and reads them."""

import random
from collections.abc import Callable
from itertools import accumulate as running
from itertools import product

from amaranth.hdl import Shape

from ...rtl.buffer.tile import TileBuffer
from ...rtl.buffer.transpose import Transposer
from ...rtl.component import Component
from ...rtl.lane.loader import TileLoader
from ...rtl.lane.probability import ProbabilityBuffer
from ...rtl.lane.query import QueryBuffer
from ...tb.buffer.tile import strip_rows, tile
from ...tb.lane.schedule import passes_of
from ...tb.simulate import to_bits
from .bench import Expected, Sent, Vectors
from .jobs import planes_of, query_blocks, reads_of
from .words import between, ints, numbers_in, plain, stream_vectors

__all__ = ["MAKERS"]


def _tile_buffer(unit: TileBuffer, n: int, rng: random.Random) -> Vectors:
    """Send ``n`` strips; read their tiles in any order, some of them twice."""
    size = unit.parameters["size"]
    i, read, o = (getattr(unit, name).payload.shape() for name in ("i", "read", "o"))
    rows, reads, beats = [], [], []
    for _ in range(n):
        width = rng.randint(1, unit.parameters["tiles"])
        strip = numbers_in(rng, unit.parameters["element"], (size, width * size))
        rows += [to_bits(i, row) for row in strip_rows(strip, size=size)]
        order = [*rng.sample(range(width), width), rng.randrange(width)]
        for k, number in enumerate(order):
            reads.append(to_bits(read, {"tile": number, "release": k == len(order) - 1}))
            beats += [to_bits(o, beat) for beat in tile(strip, number).tolist()]
    cycles = 200 + 8 * (len(rows) + len(beats))
    return Vectors({"i": rows, "read": reads}, {"o": Expected(beats)}, cycles)


def _transposer(unit: Transposer, n: int, rng: random.Random) -> Vectors:
    """Turn ``n`` tiles."""
    size, row = unit.parameters["size"], unit.i.payload.shape()
    tiles = [numbers_in(rng, unit.parameters["element"], (size, size)) for _ in range(n)]
    rows = [to_bits(row, x) for tile in tiles for x in tile.tolist()]
    columns = [to_bits(row, x) for tile in tiles for x in tile.T.tolist()]
    return Vectors({"i": rows}, {"o": Expected(columns)}, 200 + 8 * len(rows))


def _loader(unit: TileLoader, n: int, rng: random.Random) -> Vectors:
    """Load the tiles of ``n`` steps, values of one behind the keys of the next."""
    size, signed = unit.parameters["size"], unit.parameters["is_signed"]
    digit_planes = unit.parameters["digit_planes"]
    blocks = query_blocks(unit, n, rng)
    strips = [[ints(rng, size, b["d_tiles"] * size) for b in blocks] for _ in range(2)]
    order = [(k, v) for k in range(n + 1) for v in (0, 1) if v <= k < n + v]
    passes, beats = [], []
    for k, value in order:
        step = blocks[k - value] | {"first": 1, "last": 0, "bank": (k - value) % 2}
        step |= planes_of(unit, rng)
        planes = {name: digit_planes if value else step[name] for name in planes_of(unit, rng)}
        passes += passes_of(step, value=value)
        for number in range(step["d_tiles"]):
            rows = tile(strips[value][k - value], number, columns=not value).tolist()
            beats += [{"row": row, "is_signed": not value or signed, **planes} for row in rows]
    keys, values = (
        [row for strip in kind for row in strip_rows(strip, size=size)] for kind in strips
    )
    return stream_vectors(unit, {"i": passes, "keys": keys, "values": values}, {"tile": beats})


def _queries(unit: QueryBuffer, n: int, rng: random.Random) -> Vectors:
    """Load ``n`` query blocks; read each of them anywhere, and free its slot."""
    blocks, size = query_blocks(unit, n, rng), unit.parameters["size"]
    tile_bits = (unit.parameters["head_dim"] // size - 1).bit_length()
    i, reads, found, counts = [], [], [], []
    for block in blocks:
        places = list(product(range(block["rows"]), range(block["d_tiles"])))
        rows = ints(rng, len(places), size).tolist()
        i += rows
        order = rng.sample(range(len(places)), len(places))
        reads += [(block["slot"], places[k][1] | places[k][0] << tile_bits) for k in order]
        found += [rows[k] for k in order]
        counts.append(len(places))
    slots = [{"slot": block["slot"]} for block in blocks]
    made = stream_vectors(unit, {"load": blocks, "i": i, "freed": slots}, {"loaded": slots})
    after = [k + 1 for k, count in enumerate(counts) for _ in range(count)]
    freed = Sent(plain(made.inputs["freed"]), gate=("r",), after=list(running(counts)))
    read, answered = reads_of(unit, reads, found, gate=("loaded",), after=after)
    inputs = {**made.inputs, "freed": freed, "r": read}
    return Vectors(inputs, {**made.outputs, "r__data": answered}, made.max_cycles + 9 * len(i))


def _probabilities(unit: ProbabilityBuffer, n: int, rng: random.Random) -> Vectors:
    """Fill the banks ``n`` times in turn; read one while the other is filled."""
    p, shape = unit.parameters, unit.w.payload.shape()
    chunks, row_bits = p["size"] // p["row_width"], len(unit.r.row)
    writes: list[int] = []
    reads: list[int] = []
    after_reads, after_writes, found = [], [], []
    free = 0
    for turn in range(n):
        bank, n_rows = turn % 2, rng.randint(1, p["block_rows"])
        before = len(reads)
        for row in range(n_rows):
            digits = between(rng, 0, 255, (p["size"], p["digits"])).tolist()
            rescale = {"amount": rng.randrange(64), "of_new": rng.getrandbits(1)}
            for chunk in range(chunks):
                part = digits[chunk * p["row_width"] : (chunk + 1) * p["row_width"]]
                where = {"bank": bank, "row": row, "chunk": chunk}
                writes.append(to_bits(shape, where | {"digits": part, "rescale": rescale}))
                after_reads.append(free)
            rescale_bits = to_bits(shape["rescale"].shape, rescale)
            width = Shape.cast(unit.r.digits.shape()).width
            reads.append(row | bank << row_bits)
            found.append(to_bits(unit.r.digits.shape(), digits) | rescale_bits << width)
        after_writes += n_rows * [len(writes)]
        free = before  # reads of the other bank, which comes next
    read = Sent(reads, ports=("r__row", "r__bank"), valid="r__en", gate=("w",), after=after_writes)
    inputs = {"w": Sent(writes, gate=("r",), after=after_reads), "r": read}
    answered = Expected(found, ports=("r__digits", "r__rescale"), of="r", latency=1)
    return Vectors(inputs, {"r__data": answered}, 200 + 8 * len(writes) + 8 * len(reads))


MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    ProbabilityBuffer: _probabilities,
    QueryBuffer: _queries,
    TileBuffer: _tile_buffer,
    TileLoader: _loader,
    Transposer: _transposer,
}
"""What makes ``n`` test cases of a component."""
