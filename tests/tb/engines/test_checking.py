"""What differs is named: stream, payload, field, both numbers, cycle."""

import numpy as np
import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.formats import I8
from qkloom.rtl.stream import Queue
from qkloom.tb.engines import check, find_difference, run
from qkloom.tb.errors import MismatchError
from qkloom.tb.testbench import Expectation, Stimulus, Testbench, pack

ITEM = data.StructLayout({"row": data.ArrayLayout(I8, 4), "last": 1})


@pytest.fixture(scope="module")
def queue():
    return emit(Queue(shape=ITEM, depth=2))


def items(n, row=0):
    rows = np.arange(4 * n).reshape(n, 4) % 100
    rows[1:, 2] += row
    return pack(ITEM, row=rows, last=0)


def bench(sent, expected):
    return Testbench({"i": Stimulus(sent)}, {"o": Expectation(expected)}, max_cycles=99)


def test_first_difference(queue):
    message = (
        r"^queue\w* on pysim: o\[1\]\.row\[2\] is 6, expected -1, in cycle 2; "
        r"2 of 3 payloads differ$"
    )
    with pytest.raises(MismatchError, match=message) as caught:
        check(queue, bench(items(3), items(3, -7)), "pysim")
    assert caught.value.result.cycles == 4


def test_too_many(queue):
    with pytest.raises(MismatchError, match=r"o delivers 3 payloads, expected 2; see cycle 3$"):
        check(queue, bench(items(3), items(2)), "pysim")


def test_too_many_of_a_count(queue):
    counted = Testbench({"i": Stimulus(items(3))}, {"o": Expectation(count=2)}, max_cycles=99)
    assert find_difference(queue, counted, run(queue, counted, "pysim")) == (
        "o delivers 3 payloads, expected 2; see cycle 3"
    )


def test_payloads_without_names():
    design = emit(Queue(shape=8, depth=1))
    with pytest.raises(MismatchError, match=r"o\[0\] is 5, expected 6, in cycle 1; 1 of 1 "):
        check(design, bench([5], [6]), "pysim")


def test_earliest_of_several_streams(toy, make_toy_bench):
    correct = make_toy_bench(n=9, stall=0)
    outputs = dict(correct.outputs)
    for name in ("o", "o_tap", "answers__1"):
        values = np.array(outputs[name].values)
        values[{"o": 7, "o_tap": 3, "answers__1": -1}[name]] ^= 1
        outputs[name] = Expectation(values)
    wrong = Testbench(correct.inputs, outputs, max_cycles=99, levels=correct.levels)
    result = run(toy, wrong, "pysim")
    assert find_difference(toy, wrong, result).startswith("o_tap[3] is 4, expected 5, in cycle 4;")
    assert find_difference(toy, correct, result) is None
