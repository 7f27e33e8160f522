"""The probability buffer is written in parts of a row and read in rows."""

import random
import re
from itertools import product

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.probability import ProbabilityBuffer
from qkloom.rtl.lane.rescale import RESCALE
from qkloom.tb.simulate import from_bits

SHAPES = {
    "two digits": {"size": 4, "block_rows": 3, "row_width": 2, "digits": 2},
    "one digit, element by element": {"size": 4, "block_rows": 4, "row_width": 1, "digits": 1},
    "whole rows": {"size": 8, "block_rows": 1, "row_width": 8, "digits": 2},
    "digits of 4 bits": {
        "size": 4,
        "block_rows": 2,
        "row_width": 2,
        "digits": 2,
        "stream_width": 4,
    },
    "chunks of three": {"size": 6, "block_rows": 5, "row_width": 3, "digits": 1},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_read_gives_the_row_as_it_was_before_this_cycle(shape):
    dut = ProbabilityBuffer(**shape)
    rng = random.Random(1)
    end = 1 << shape.get("stream_width", 8)
    rows, width, n_digits = shape["block_rows"], shape["row_width"], shape["digits"]
    digits = {place: [[0] * n_digits] * shape["size"] for place in product(range(2), range(rows))}
    rescales = {place: {"amount": 0, "of_new": 0} for place in digits}

    async def drive(ctx):
        expected = None
        for _ in range(400):
            place = rng.choice([*digits])
            ctx.set(dut.r.en, 1)
            ctx.set(dut.r.bank, place[0])
            ctx.set(dut.r.row, place[1])
            if expected is not None:
                found = from_bits(dut.r.digits.shape(), ctx.get(dut.r.digits.as_value()))
                rescale = from_bits(RESCALE, ctx.get(dut.r.rescale.as_value()))
                assert (found, rescale) == expected
            expected = digits[place], rescales[place]

            item = {
                "bank": rng.randrange(2),
                "row": rng.randrange(rows),
                "chunk": rng.randrange(shape["size"] // width),
                "digits": [
                    [rng.randrange(end) for _ in range(shape["digits"])] for _ in range(width)
                ],
                "rescale": {"amount": rng.randrange(64), "of_new": rng.randrange(2)},
            }
            writes = rng.random() < 0.6
            ctx.set(dut.w.payload, item)
            ctx.set(dut.w.valid, writes)
            if writes:
                place, first = (item["bank"], item["row"]), item["chunk"] * width
                before = digits[place]
                digits[place] = before[:first] + item["digits"] + before[first + width :]
                rescales[place] = item["rescale"]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "Size must be a positive integer, not 0"),
        ({"block_rows": 0}, "Block rows must be a positive integer, not 0"),
        ({"digits": 3}, "Digits must be 1 or 2, not 3"),
        ({"row_width": 3}, "Row width must divide size 4, not 3"),
        ({"stream_width": 5}, "Stream width must be 4 or 8, not 5"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ProbabilityBuffer(**SHAPES["two digits"] | change)


def test_it_emits():
    rtlil = emit(ProbabilityBuffer(**SHAPES["two digits"])).rtlil
    assert rtlil.count("cell $memrd_v2") == 2
