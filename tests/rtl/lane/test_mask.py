import itertools
import re

import pytest
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.lane.mask import Mask


@pytest.mark.parametrize(
    ("size", "row_width", "block_rows", "tokens"), [(4, 2, 3, 4), (3, 1, 2, 2), (4, 4, 1, 64)]
)
def test_every_row_chunk_and_diagonal(size, row_width, block_rows, tokens):
    dut = Mask(size=size, row_width=row_width, block_rows=block_rows, tokens=tokens)
    reach = 2 * tokens
    cases = [
        {"row": row, "chunk": chunk, "keys": keys, "causal": causal, "diagonal": diagonal}
        for row, chunk, keys, causal in itertools.product(
            range(block_rows), range(size // row_width), range(size + 1), (0, 1)
        )
        for diagonal in {*range(-6, 7), -reach, reach - 1} & {*range(-reach, reach)}
    ]
    found = []

    async def drive(ctx):
        for cycle in range(len(cases) + dut.latency):
            if cycle < len(cases):
                ctx.set(dut.i, cases[cycle])
            if cycle >= dut.latency:
                found.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    for case, visible in zip(cases, found, strict=True):
        for j in range(row_width):
            key = case["chunk"] * row_width + j
            future = case["causal"] and key > case["diagonal"] + case["row"]
            assert visible >> j & 1 == (key < case["keys"] and not future), case


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "Size must be a positive integer, not 0"),
        ({"block_rows": 0}, "Block rows must be a positive integer, not 0"),
        ({"tokens": -1}, "Tokens must be a positive integer, not -1"),
        ({"row_width": 3}, "Row width must divide size 4, not 3"),
        ({"row_width": 0}, "Row width must be a positive integer, not 0"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Mask(**({"size": 4, "row_width": 2, "block_rows": 4, "tokens": 8} | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"^Tokens must be a positive integer, not 1\.5$"):
        Mask(size=4, row_width=2, block_rows=4, tokens=1.5)


def test_it_converts():
    dut = Mask(size=8, row_width=4, block_rows=8, tokens=1024)
    assert "module \\top" in emit(dut, name="top").rtlil
