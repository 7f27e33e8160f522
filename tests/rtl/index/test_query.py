import re
from random import Random

import pytest
from amaranth.back import rtlil

from qkloom.rtl.index.query import QueryCheck
from qkloom.tb.simulate import from_bits, simulate, to_bits

SIZES = {"k_max": 6, "blocks": 10, "beats": 3}
GOOD = {"windows": 40, "position": 639, "k": 6, "init": 1, "local": 4, "beats": 3}


def run(queries, **pace):
    dut = QueryCheck(**SIZES)
    sent = [to_bits(dut.i.payload.shape(), query) for query in queries]
    logs = simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=5000, pace=pace, idle=50)
    return logs, [from_bits(dut.o.payload.shape(), x) for x in logs["o"].items]


def understood(query):
    """Return what the rule makes of a query."""
    n = query["position"] // 64 + 1
    refused = (
        query["k"] > 6
        or query["init"] + query["local"] + 1 > query["k"]
        or n > 10
        or query["windows"] > 40
        or not 1 <= query["beats"] <= 3
    )
    pooling = {
        "windows": query["windows"],
        "n_blocks": n,
        "seen": query["position"] // 16 % 4,
        "init": query["init"],
        "until_local": max(n - 1 - query["local"], 0),
    }
    return {
        "windows": query["windows"],
        "beats": query["beats"],
        "pooling": dict.fromkeys(pooling, 0) if refused else pooling,
        "k": 0 if refused else query["k"],
        "refused": int(refused),
        "single": int(not refused and n == 1),
        "fewer": int(not refused and n < query["k"]),
    }


@pytest.mark.parametrize("pace", [{}, {"i": 0.5}, {"o": 0.3}])
def test_any_query(pace):
    rng = Random(2)
    most = {"windows": 81, "position": 1279, "k": 13, "init": 13, "local": 13, "beats": 7}
    queries = []
    for _ in range(200):
        query = {name: rng.randint(0, GOOD[name]) for name in most}
        for name in rng.sample(sorted(most), rng.choice([0, 0, 1, 2])):
            query[name] = rng.randint(0, most[name])
        queries.append(query)
    _, found = run(queries, **pace)
    assert found == [understood(query) for query in queries]
    assert 20 < sum(x["refused"] for x in found) < 180


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({}, 0),
        ({"k": 7}, 1),
        ({"init": 2}, 1),
        ({"local": 5}, 1),
        ({"k": 0, "init": 0, "local": 0}, 1),
        ({"k": 1, "init": 0, "local": 0}, 0),
        ({"position": 640}, 1),
        ({"windows": 41}, 1),
        ({"windows": 0, "position": 0}, 0),
        ({"beats": 0}, 1),
        ({"beats": 4}, 1),
    ],
)
def test_each_reason(change, refused):
    _, (found,) = run([GOOD | change])
    assert found["refused"] == refused
    assert found == understood(GOOD | change)


def test_cycles():
    logs, _ = run([GOOD] * 3)
    assert logs["i"].cycles == [0, 4, 8]
    assert logs["o"].cycles == [3, 7, 11]


def test_conversion():
    rtlil.convert(QueryCheck(**SIZES))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k_max": 0}, ValueError, "Largest k must be a positive integer, not 0"),
        ({"k_max": 11}, ValueError, "Largest k must be at most 10, not 11"),
        ({"blocks": "9"}, TypeError, "Blocks must be a positive integer, not '9'"),
        ({"beats": 0}, ValueError, "Number of beats must be a positive integer, not 0"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        QueryCheck(**SIZES | change)
