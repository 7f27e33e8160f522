import re

import numpy as np
import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.index.pair_share import PairShare
from qkloom.tb.engines import check
from qkloom.tb.index.code import encode
from qkloom.tb.index.pair_share import row_shares
from qkloom.tb.index.row_sums import RowSum, row_sums
from qkloom.tb.packing import pack
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Number of blocks must be a positive integer, not 0"),
        ({"fraction": 13}, ValueError, "Fraction must be at most 12, not 13"),
        ({"exp_fraction": 31}, ValueError, "Exp fraction must be at most 30, not 31"),
        ({"exp_fraction": 24}, ValueError, "Exp fraction must be at least 25, not 24"),
        ({"value_width": 26}, ValueError, "Value width must be at least 27, not 26"),
        ({"code_fraction": 32}, ValueError, "Fraction must be below the value width 32, not 32"),
    ],
)
def test_errors(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        PairShare(**{"blocks": 9, "fraction": 8} | changes)


@pytest.mark.parametrize("stall", [FREE, Stall(0.5, seed=1)])
@pytest.mark.parametrize(
    "sizes",
    [
        {"blocks": 9, "fraction": 8},
        {"blocks": 1, "fraction": 6, "exp_fraction": 25},
        {"blocks": 1024, "fraction": 12, "exp_fraction": 30},
        {"blocks": 2, "fraction": 10, "value_width": 30, "code_fraction": 3},
    ],
    ids=str,
)
def test_shares(sizes, stall):
    unit = PairShare(**sizes)
    p = unit.parameters
    powers = {"fraction": p["fraction"], "exp_fraction": p["exp_fraction"]}
    rng = np.random.default_rng(1)
    limit = (1 << 15) - 1 << p["fraction"]
    xs, rows = [], []
    for number, n in enumerate([1, min(2, p["blocks"]), min(30, p["blocks"])] * 2):
        spread = limit if number % 2 else 3 << p["fraction"]
        x = rng.integers(-spread, spread + 1, (n, n))
        sums = row_sums(x, **powers)
        r, c = np.tril_indices(n)
        xs.append(x[r, c])
        rows.append([part[r] for part in sums])
    x = np.concatenate(xs)
    row = RowSum(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
    shares = row_shares(x[:, None], row, blocks=p["blocks"], **powers)[:, 0]
    last = rng.integers(0, 2, len(x))
    fields = {"x": x, "maximum": row.maximum, "e": row.e, "r": row.r, "last": last}
    codes = encode(shares, fraction=p["code_fraction"])
    bench = Testbench(
        {"i": Stimulus(pack(unit.i.payload.shape(), **fields), stall)},
        {"o": Expectation(pack(unit.o.payload.shape(), code=codes, last=last))},
        max_cycles=3000,
    )
    result = check(emit(unit), bench, "pysim")
    assert (result.transfers["o"] - result.transfers["i"] == unit.latency).all()
