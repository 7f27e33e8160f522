"""The tile buffer gives back tiles by rows, whatever stalls."""

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.buffer.tile import TileBuffer
from qkloom.rtl.formats import I8, Integer
from qkloom.tb.buffer.tile import strip_rows, tile
from qkloom.tb.simulate import from_bits, simulate, to_bits


def strips_of(rng, *, n, size, tiles):
    """Return strips of 1 to ``tiles`` tiles."""
    return [rng.integers(-128, 128, (size, size * rng.integers(1, tiles + 1))) for _ in range(n)]


def run(dut, rows, reads, **options):
    inputs = {
        "i": [to_bits(dut.i.payload.shape(), row) for row in rows],
        "read": [to_bits(dut.read.payload.shape(), read) for read in reads],
    }
    log = simulate(dut, inputs=inputs, outputs=["o"], idle=100, **options)
    return log, [from_bits(dut.o.payload.shape(), item) for item in log["o"].items]


@pytest.mark.parametrize("pace", [1.0, 0.6])
@pytest.mark.parametrize(("size", "tiles", "strips"), [(2, 1, 1), (4, 3, 2), (8, 2, 3)])
def test_tiles_come_out_as_asked(size, tiles, strips, pace):
    rng = np.random.default_rng(1)
    rows, reads, expected = [], [], []
    for strip in strips_of(rng, n=6, size=size, tiles=tiles):
        rows += strip_rows(strip, size=size)
        for n in range(3):  # a tile may be read again, in any order
            number = int(rng.integers(0, strip.shape[1] // size))
            reads.append({"tile": number, "release": n == 2})
            expected += tile(strip, number).tolist()
    pace = {"i": pace, "read": pace, "o": pace}
    dut = TileBuffer(size=size, tiles=tiles, strips=strips)
    assert run(dut, rows, reads, cycles=2000, pace=pace)[1] == expected


@pytest.mark.parametrize("pace", [1.0, 0.6])
@pytest.mark.parametrize(("row", "strips"), [(1, 1), (2, 2), (3, 7), (4, 8)])
def test_rows_of_strips_are_read_again(row, strips, pace):
    rng = np.random.default_rng(row)
    rows, reads, expected = [], [], []
    for _ in range(5):
        taken = strips_of(rng, n=row, size=4, tiles=2)
        rows += [beat for strip in taken for beat in strip_rows(strip, size=4)]
        times = int(rng.integers(1, 4))
        for time in range(times):
            again = time < times - 1
            # Whoever reads again may leave the row early; the last one goes through all of it.
            n = int(rng.integers(1, row + 1)) if again else row
            for k, strip in enumerate(taken[:n]):
                for end in range(2):
                    number = int(rng.integers(0, strip.shape[1] // 4))
                    turns = {
                        "release": end and not again,
                        "on": end and again and k < n - 1,
                        "back": end and again and k == n - 1,
                    }
                    reads.append({"tile": number, **turns})
                    expected += tile(strip, number).tolist()
    pace = {"i": pace, "read": pace, "o": pace}
    dut = TileBuffer(size=4, tiles=2, strips=strips, repeats=True)
    assert run(dut, rows, reads, cycles=4000, pace=pace)[1] == expected


def test_elements_of_other_widths():
    strip = np.random.default_rng(1).integers(-16, 16, (4, 4))
    dut = TileBuffer(size=4, tiles=1, element=Integer(5))
    reads = [{"tile": 0, "release": 1}]
    _, beats = run(dut, strip_rows(strip, size=4), reads, cycles=100)
    assert beats == tile(strip, 0).tolist()


def test_a_tile_leaves_one_row_a_cycle_and_the_next_one_right_behind():
    rows = strip_rows(np.ones((8, 8), int), size=8)
    reads = 3 * [{"tile": 0, "release": 0}]
    log, _ = run(TileBuffer(size=8, tiles=1), rows, reads, cycles=200)
    first = log["o"].cycles[0]
    assert first == log["i"].cycles[-1] + 4  # the strip is known, two more cycles to read
    assert log["o"].cycles == list(range(first, first + 24))


def test_a_full_buffer_takes_a_strip_when_one_is_released():
    rows = 3 * strip_rows(np.ones((4, 4), int), size=4)
    log, _ = run(TileBuffer(size=4, tiles=1), rows, [], cycles=200)
    assert len(log["i"].items) == 8
    pace = {"read": lambda cycle: cycle >= 20}
    reads = [{"tile": 0, "release": 1}]
    log, _ = run(TileBuffer(size=4, tiles=1), rows, reads, cycles=200, pace=pace)
    assert log["i"].cycles == [*range(8), *range(25, 29)]


def test_beats_wait_when_nobody_takes_them():
    rows = strip_rows(np.arange(16).reshape(4, 4), size=4)
    reads = 2 * [{"tile": 0, "release": 0}]
    pace = {"o": lambda cycle: cycle >= 40}
    log, beats = run(TileBuffer(size=4, tiles=1), rows, reads, cycles=200, pace=pace)
    assert log["o"].valid_cycles[0] == log["i"].cycles[-1] + 4
    assert beats == 2 * np.arange(16).reshape(4, 4).tolist()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 6, "tiles": 1}, "^Tile size must be a power of two of at least 2, not 6$"),
        ({"size": 1, "tiles": 1}, "^Tile size must be a power of two of at least 2, not 1$"),
        ({"size": 4, "tiles": 0}, "^Number of tiles must be a positive integer, not 0$"),
        (
            {"size": 4, "tiles": 1, "strips": 0},
            "^Number of strips must be a positive integer, not 0$",
        ),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        TileBuffer(**parameters)


def test_it_emits():
    design = emit(TileBuffer(size=4, tiles=2, element=I8))
    assert {port.name for port in design.ports} >= {"i__payload", "read__valid", "o__ready"}
