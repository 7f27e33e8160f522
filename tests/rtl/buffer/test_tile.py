"""The tile buffer gives back tiles by rows and by columns, whatever stalls."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.buffer.tile import TileBuffer
from qkloom.tb.simulate import simulate


def bits(row: list[int]) -> int:
    return sum((element & 0xFF) << 8 * i for i, element in enumerate(row))


def strips_of(rng: random.Random, *, n: int, size: int, tiles: int) -> list[list[list[int]]]:
    """Return strips[strip][token][element], of 1 to `tiles` chunks."""
    return [
        [[rng.randrange(256) for _ in range(size * width)] for _ in range(size)]
        for width in (rng.randint(1, tiles) for _ in range(n))
    ]


@pytest.mark.parametrize("pace", [1.0, 0.6])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize(("size", "tiles", "strips"), [(2, 1, 1), (4, 3, 2), (8, 2, 3)])
def test_tiles_come_out_as_asked(size, tiles, strips, columns, pace):
    rng = random.Random(1)
    stored = strips_of(rng, n=6, size=size, tiles=tiles)
    rows, reads, expected = [], [], []
    for strip in stored:
        width = len(strip[0]) // size
        for token in strip:
            chunks = [token[c * size : (c + 1) * size] for c in range(width)]
            rows += [bits(chunk) | (c == width - 1) << 8 * size for c, chunk in enumerate(chunks)]
        order = [rng.randrange(width) for _ in range(3)]  # a tile may be read again, in any order
        tile_bits = max((tiles - 1).bit_length(), 1)
        reads += [tile | (n == 2) << tile_bits for n, tile in enumerate(order)]
        for tile in order:
            square = [token[tile * size : (tile + 1) * size] for token in strip]
            expected += [bits(row) for row in (zip(*square) if columns else square)]
    log = simulate(
        TileBuffer(size=size, tiles=tiles, strips=strips, columns=columns),
        inputs={"i": rows, "read": reads},
        outputs=["o"],
        cycles=1200,
        pace={"i": pace, "read": pace, "o": pace},
    )
    assert log["o"].items == expected


def test_a_tile_leaves_one_row_a_cycle_and_the_next_one_right_behind():
    size = 8
    rows = [bits([1] * size) | 1 << 8 * size] * size
    log = simulate(
        TileBuffer(size=size, tiles=1, columns=True),
        inputs={"i": rows, "read": [0, 0, 0]},
        outputs=["o"],
        cycles=60,
    )
    first = log["o"].cycles[0]
    assert first == log["i"].cycles[-1] + 3  # the strip is complete, two more cycles to read
    assert log["o"].cycles == list(range(first, first + 3 * size))


def test_nothing_is_taken_while_all_strips_are_full():
    log = simulate(
        TileBuffer(size=4, tiles=1, strips=2),
        inputs={"i": [1 << 32] * 40, "read": []},
        outputs=["o"],
        cycles=60,
    )
    assert len(log["i"].items) == 8


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 6, "tiles": 1}, "^Tile size must be a power of two of at least 2, not 6$"),
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
    design = emit(TileBuffer(size=4, tiles=2, columns=True))
    assert {port.name for port in design.ports} >= {"i__payload", "read__valid", "o__ready"}
