"""Each rule that a kernel can break is found broken: where, and when."""

import pytest

from qkloom.gen.emit import emit
from qkloom.tb.kernel import start_kernel
from qkloom.tb.memory import MemoryModel
from qkloom.tb.memory.rules import RULES
from qkloom.tb.stalls import HELD, Stall

from .conftest import Scripted

NEAR = {"n_channels": 1, "storage_bytes": 1 << 16}


def pins(prefix, **values):
    return tuple((f"{prefix}{name}", value) for name, value in values.items())


def ar(address=0, length=0, size=3, burst=1, **others):
    values = {"addr": address, "len": length, "size": size, "burst": burst, "valid": 1}
    return pins("m00_axi_ar", **values, **others)


def aw(address=0, length=0, size=3, burst=1):
    values = {"addr": address, "len": length, "size": size, "burst": burst, "valid": 1}
    return pins("m00_axi_aw", **values)


def w(last=1, strb=0xFF, data=7):
    return pins("m00_axi_w", valid=1, last=last, strb=strb, data=data)


def b(resp=0):
    return pins("s_axi_control_b", valid=1, resp=resp)


def r(data=0):
    return pins("s_axi_control_r", valid=1, data=data)


# What is driven in which cycle after the write of the register, and what is found then.
SCRIPTS = (
    ("nothing", ()),
    ("ar withdrawn", ((1, ar()),)),
    ("ar kept", ((1, ar(8)), (2, ar(8)), (3, ar(8)))),
    ("ar changed", ((1, ar(8)), (2, ar(16)))),
    ("ar id changed", ((1, ar(8)), (2, ar(8, id=1)))),
    ("w changed", ((1, aw()), (2, w()), (3, w(data=8)))),
    ("w strobes changed", ((1, aw()), (2, w()), (3, w(strb=1)))),
    ("w withdrawn", ((1, aw()), (2, w()))),
    ("aw withdrawn", ((1, aw()),)),
    ("crosses", ((1, ar(0xFF0, 2)),)),
    ("to the end", ((1, ar(0xFF0, 1)),)),
    ("fixed", ((1, aw(8, 0, 3, 0)), (2, w()))),
    ("wide", ((1, ar(0, 0, 4)),)),
    ("early", ((1, aw(0, 1)), (2, w(1)), (3, w(1)))),
    ("endless", ((1, aw()), (2, w(0)))),
    ("beside", ((1, aw(4, 0, 2)), (2, w(1, 0x0F)))),
    ("within", ((1, aw(4, 0, 2)), (2, w(1, 0xF0)))),
    ("nowhere", ((1, ar(1 << 16)),)),
    ("unasked b", ((3, b()),)),
    ("unasked r", ((3, r()),)),
    ("b withdrawn", ((22, b()),)),
    ("r changed", ((22, r()), (23, r(1)))),
    ("ar in reset", ((Scripted.RESET, ar()),)),
    ("w in reset", ((Scripted.RESET, w()),)),
    ("b in reset", ((Scripted.RESET, b()),)),
)

REFUSED = {"refusals": HELD}

FOUND = {
    "nothing": ({}, []),
    "ar withdrawn": (REFUSED, [("m00_axi ar", 0, 2, 0)]),
    "ar kept": (REFUSED, [("m00_axi ar", 0, 4, 0)]),
    "ar changed": (REFUSED, [("m00_axi ar", 1, 2, 0), ("m00_axi ar", 0, 3, 0)]),
    "ar id changed": (REFUSED, [("m00_axi ar", 1, 2, 0), ("m00_axi ar", 0, 3, 0)]),
    "w changed": (
        REFUSED,
        [("m00_axi aw", 0, 2, 0), ("m00_axi w", 1, 3, 0), ("m00_axi w", 0, 4, 0)],
    ),
    "w strobes changed": (
        REFUSED,
        [("m00_axi aw", 0, 2, 0), ("m00_axi w", 1, 3, 0), ("m00_axi w", 0, 4, 0)],
    ),
    "w withdrawn": (REFUSED, [("m00_axi aw", 0, 2, 0), ("m00_axi w", 0, 3, 0)]),
    "aw withdrawn": (REFUSED, [("m00_axi aw", 0, 2, 0)]),
    "crosses": ({}, [("m00_axi ar", 2, 1, 0xFF0)]),
    "to the end": ({}, []),
    "fixed": ({}, [("m00_axi aw", 3, 1, 8)]),
    "wide": ({}, [("m00_axi ar", 4, 1, 0)]),
    "early": ({}, [("m00_axi w", 5, 2, 0)]),
    "endless": ({}, [("m00_axi w", 6, 2, 0)]),
    "beside": ({}, [("m00_axi w", 7, 2, 4)]),
    "within": ({}, []),
    "nowhere": ({}, [("m00_axi ar", 9, 1, 1 << 16)]),
    "unasked b": ({}, [("s_axi_control b", 10, 3, 0)]),
    "unasked r": ({}, [("s_axi_control r", 10, 3, 0)]),
    "b withdrawn": (
        {"host": True},
        [("s_axi_control b", 10, 22, 0), ("s_axi_control b", 0, 23, 0)],
    ),
    "r changed": (
        {"host": True},
        [
            ("s_axi_control r", 10, 22, 0),
            ("s_axi_control r", 1, 23, 0),
            ("s_axi_control r", 0, 24, 0),
        ],
    ),
    "ar in reset": ({"reset": True}, [("m00_axi ar", 8, 0, 0)]),
    "w in reset": ({"reset": True}, [("m00_axi w", 8, 0, 0)]),
    "b in reset": ({"reset": True}, [("s_axi_control b", 8, 0, 0)]),
}


# A host that does nothing from cycle 20 to 29, and stalls in none of the first ten.
PATTERNS = (Stall(0.4, burst=10, seed=seed) for seed in range(1000))
LATER = next(
    stall
    for stall in PATTERNS
    if not any(stall.at(f"s_axi_control {c}", 0) for c in ("aw", "w", "b"))
    and all(stall.at(f"s_axi_control {c}", 20) for c in ("b", "r"))
)


@pytest.fixture(scope="module")
def design(require):
    require("compiler")
    return emit(Scripted(scripts=SCRIPTS))


def test_every_rule_is_there():
    found = {rule for _, violations in FOUND.values() for _, rule, _, _ in violations}
    assert found == set(range(len(RULES)))
    assert list(FOUND) == [name for name, _ in SCRIPTS]


@pytest.mark.parametrize("engine", ["pysim", "cxxrtl"])
@pytest.mark.parametrize("name", FOUND)
def test_violations(design, engine, name):
    surroundings, expected = FOUND[name]
    number = [script for script, _ in SCRIPTS].index(name)
    model = MemoryModel(**NEAR, refusals=surroundings.get("refusals", Stall()))
    stalls = LATER if "host" in surroundings else Stall()
    with start_kernel(design, model, engine, stalls=stalls) as kernel:
        kernel.write(4 * number, 0)
        begin = kernel.cycle - 2  # the cycle in which the script's first one is
        if "reset" in surroundings:
            kernel.reset()
            begin = 0
        kernel.run(30)
        found = [
            (v.stream, RULES.index(v.rule), v.cycle - begin, v.address) for v in kernel.violations
        ]
    assert [v for v in found if v[2] or "reset" in surroundings] == expected
