import re
from random import Random

import pytest
from amaranth.back import rtlil

from qkloom.gen.emit import emit
from qkloom.rtl.index.sort import BlockSorter
from qkloom.tb.engines import check
from qkloom.tb.simulate import simulate
from qkloom.tb.testbench import Expectation, Stimulus, Testbench
from tests.rtl.index.lists import items_of, lists_of


def run(blocks, lists, **pace):
    dut = BlockSorter(blocks=blocks)
    inputs = {"i": items_of(lists, blocks)}
    logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=30_000, idle=200, pace=pace)
    return logs, lists_of(logs["o"].items, blocks)


def draw(rng, blocks):
    some = rng.sample(range(blocks), rng.randint(0, blocks))
    return some if rng.random() < 0.7 else sorted(some)


@pytest.mark.parametrize("blocks", [1, 3, 31, 32, 33, 64, 200])
@pytest.mark.parametrize("pace", [{}, {"i": 0.5}, {"o": 0.4}, {"i": 0.8, "o": 0.8}])
def test_ascending(blocks, pace):
    rng = Random(blocks)
    lists = [draw(rng, blocks) for _ in range(12)]
    _, found = run(blocks, lists, **pace)
    assert found == [sorted(x) for x in lists]


def test_what_is_twice_comes_once():
    # The same word again, the cycle after and later, and the same bit.
    lists = [[5, 5, 6, 40, 7, 5], [1], []]
    assert run(64, lists)[1] == [[5, 6, 7, 40], [1], []]


def test_cycles():
    blocks, entries = 128, [100, 3, 2]
    logs, _ = run(blocks, [entries, [0]])
    cleared = blocks // 32
    assert logs["i"].cycles[:4] == list(range(cleared, cleared + 4))
    # Words 0 to 3 are read, and there is a cycle for clearing the last one.
    assert logs["i"].cycles[4] == cleared + 4 + 4 + 1
    assert logs["o"].cycles[0] == cleared + 4 + 6
    assert logs["o"].cycles[3] - logs["o"].cycles[0] == 2 + 2 + 1  # two words without a bit


def test_reset_forgets():
    blocks = 40
    dut = BlockSorter(blocks=blocks)
    lists = [[8], [39, 2, 7]]  # the reset comes in the second one
    bench = Testbench(
        inputs={"i": Stimulus(items_of(lists, blocks))},
        outputs={"o": Expectation(items_of([sorted(x) for x in lists], blocks))},
        max_cycles=200,
        aborted_cycles=9,
    )
    check(emit(dut), bench)


def test_never_ready():
    logs, _ = run(8, [[3]], o=lambda cycle: cycle >= 50)
    first = logs["o"].valid_cycles[0]
    assert logs["o"].valid_cycles[: 50 - first] == list(range(first, 50))


def test_conversion():
    rtlil.convert(BlockSorter(blocks=100))


@pytest.mark.parametrize(("blocks", "error"), [(0, ValueError), (1.5, TypeError)])
def test_wrong_count(blocks, error):
    message = re.escape(f"Blocks must be a positive integer, not {blocks!r}")
    with pytest.raises(error, match=f"^{message}$"):
        BlockSorter(blocks=blocks)
