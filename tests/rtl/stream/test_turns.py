"""Groups come whole, in the order that is told."""

import re

import numpy as np
import pytest
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.rtl.stream.turns import Turns
from qkloom.tb.simulate import from_bits, simulate, to_bits

ITEM = data.StructLayout({"x": 8, "last": 1})


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("pace", [1, 0.5])
def test_groups_in_order(n, pace):
    rng = np.random.default_rng(n)
    dut = Turns(shape=ITEM, n=n, depth=4)
    turns = rng.integers(0, n, 30).tolist()
    sent = {f"i__{k}": [] for k in range(n)}
    expected = []
    for turn in turns:
        length = int(rng.integers(1, 6))
        group = [{"x": int(rng.integers(256)), "last": int(i == length - 1)} for i in range(length)]
        sent[f"i__{turn}"] += group
        expected += group
    log = simulate(
        dut,
        inputs={name: [to_bits(ITEM, item) for item in items] for name, items in sent.items()}
        | {"turn": turns},
        outputs=["o"],
        cycles=3000,
        idle=50,
        pace=dict.fromkeys([*sent, "turn", "o"], pace),
        seed=n,
    )
    assert [from_bits(ITEM, item) for item in log["o"].items] == expected
    if pace == 1:
        assert log["o"].cycles[-1] <= len(expected) + len(turns) + 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n": 0}, ValueError, "Number of inputs must be a positive integer, not 0"),
        ({"depth": 0}, ValueError, "Depth must be a positive integer, not 0"),
        ({"shape": 8}, TypeError, "Items must have a field last, not be 8"),
    ],
)
def test_parameters_out_of_range(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Turns(**({"shape": ITEM, "n": 2, "depth": 2} | changes))


def test_it_converts():
    emit(Turns(shape=ITEM, n=3, depth=2))
