"""Outputs of lanes that take turns leave as chunks of their own."""

import random
import re

import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.formats import Fixed
from qkloom.rtl.mover.collect import Collector
from qkloom.tb.simulate import from_bits, simulate, to_bits

ITEM = data.StructLayout({"row": data.ArrayLayout(Fixed(8, 16), 2), "last": 1})
BEATS = 4
UNITS = 2  # items of a beat
UNIT_BYTES = 8


def collector(**changes):
    given = dict(item=ITEM, n_lanes=3, element_width=32, data_width=128, beats=BEATS)
    return Collector(**{**given, **changes})


def content(words):
    return b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)


def run(items, *, cycles=3000, **pace):
    """Return what left: for each chunk its lane, whether it ends a block, and its bytes."""
    dut = collector()
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, {"index": lane, "item": item}) for lane, item in items]},
        outputs=["chunks", "data"],
        pace=pace,
        cycles=cycles,
        idle=100,
    )
    beats = [from_bits(dut.data.payload.shape(), bits) for bits in log["data"].items]
    chunks = []
    for bits in log["chunks"].items:
        chunk = from_bits(dut.chunks.payload.shape(), bits)
        mine, beats = beats[: chunk["beats"]], beats[chunk["beats"] :]
        kept = b""
        for beat in mine:
            n_bytes = beat["strb"].bit_count()
            assert beat["strb"] == (1 << n_bytes) - 1
            kept += beat["data"].to_bytes(16, "little")[:n_bytes]
        chunks.append((chunk["lane"], chunk["ends"], kept))
    assert beats == []
    return chunks, len(log["i"].items)


def blocks(rng, lengths):
    """Return items of blocks, as (lane, item), the lanes' items mixed; and each lane's blocks."""
    waiting = {lane: [] for lane in range(3)}
    expected = {lane: [] for lane in range(3)}
    for number, length in enumerate(lengths):
        rows = [[rng.randrange(-(1 << 23), 1 << 23) for _ in range(2)] for _ in range(length)]
        expected[number % 3].append(b"".join(map(content, rows)))
        for k, row in enumerate(rows):
            waiting[number % 3].append({"row": row, "last": int(k == length - 1)})
    items = []
    while lanes := [lane for lane, left in waiting.items() if left]:
        lane = rng.choice(lanes)
        items.append((lane, waiting[lane].pop(0)))
    return items, expected


@pytest.mark.parametrize("pace", [{}, {"i": 0.4}, {"chunks": 0.2, "data": 0.3}, {"data": 0.05}])
def test_every_block_leaves_whole(pace):
    whole = BEATS * UNITS
    rng = random.Random(str(pace))
    items, expected = blocks(
        rng, [1, 2, whole, whole + 1, 3 * whole, 5 * whole - 1, *range(7, 2, -1), 1, 1]
    )
    chunks, _ = run(items, **pace)
    for lane, wanted in expected.items():
        found, block = [], b""
        for of, ends, kept in chunks:
            if of == lane:
                block += kept
                assert ends or len(kept) == whole * UNIT_BYTES
                if ends:
                    found.append(block)
                    block = b""
        assert (found, block) == (wanted, b"")


def test_two_halves_of_a_lane_fill_while_nothing_leaves():
    row = {"row": [1, 2], "last": 0}
    _, taken = run([(1, row)] * 40, chunks=0.0, cycles=200)
    # Two stand in the slice at the entry.
    assert taken == 2 * BEATS * UNITS + 2


def test_a_full_lane_keeps_no_items_of_another():
    """As long as they do not stand behind its own."""
    row = {"row": [1, 2], "last": 0}
    _, taken = run([(1, row)] * 16 + [(2, row)] * 16, chunks=0.0, cycles=200)
    assert taken == 32


def test_an_item_a_cycle():
    dut = collector()
    items = [{"index": k % 3, "item": {"row": [k, -k], "last": 0}} for k in range(300)]
    shape = dut.i.payload.shape()
    log = simulate(
        dut,
        inputs={"i": [to_bits(shape, item) for item in items]},
        outputs=["chunks", "data"],
        cycles=320,
    )
    assert log["i"].cycles == list(range(log["i"].cycles[0], log["i"].cycles[0] + 300))


def test_is_convertible():
    emit(collector())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_lanes": 0}, "Number of lanes must be a positive integer, not 0"),
        ({"beats": 0}, "Beats must be a positive integer, not 0"),
        ({"data_width": 96}, "2 elements of 32 bits must divide a beat of 96"),
    ],
)
def test_bad_parameters(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        collector(**changes)
