"""Attention on a board checks itself: simulated, right and wrong."""

import re
from dataclasses import fields, replace

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.platforms.selftest import CORE, Contents, SelfTest

ONE_CALL = 700
"""Cycles that are enough for the first call."""


def run(dut, cycles, *, spoilt=None, until=None):
    """Return passed, failed and calls at the end."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    found = {}

    async def watch(ctx):
        for cycle in range(cycles):
            ctx.set(dut.spoil, cycle == spoilt)
            await ctx.tick()
            if until is not None and ctx.get(until):
                break
        found.update(cycle=cycle, passed=ctx.get(dut.passed), failed=ctx.get(dut.failed))
        found["calls"] = ctx.get(dut.calls)

    simulator.add_testbench(watch)
    simulator.run()
    return found


def broken(contents, name):
    """Return contents with one bit of one word of a ROM inverted."""
    words = list(getattr(contents, name))
    middle = len(words) // 2
    # Of a job, bit 0 says whether it is the first of its query block.
    words[middle] ^= 1
    return replace(contents, **{name: tuple(words)})


def test_passes_call_after_call():
    dut = SelfTest(seed=1, **CORE)
    result = run(dut, 3 * ONE_CALL)
    assert result["passed"] and not result["failed"]
    assert result["calls"] == 3


@pytest.mark.parametrize("rom", [field.name for field in fields(Contents)])
def test_fails_with_a_broken_word(rom):
    right = SelfTest(**CORE).contents
    dut = SelfTest(contents=broken(right, rom), patience=1024, **CORE)
    result = run(dut, 3 * ONE_CALL, until=dut.failed)
    assert result["failed"] and not result["passed"]


def test_fails_when_spoilt():
    dut = SelfTest(**CORE)
    first = run(dut, ONE_CALL, until=dut._core.o.valid)["cycle"]
    dut = SelfTest(**CORE)
    assert run(dut, ONE_CALL, spoilt=first + 1, until=dut.failed)["failed"]


def test_attributes():
    dut = SelfTest(seed=5, **CORE)
    assert dut.contents == SelfTest(contents=dut.contents, **CORE).contents
    assert {name: len(Value.cast(getattr(dut, name))) for name in dut.signature.members} == {
        "spoil": 1,
        "passed": 1,
        "failed": 1,
        "calls": 32,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": ("plain", "plain")}, "A self test needs a core of one lane, not of 2"),
        ({"size": 6}, "Size must be a power of two of at least 4, not 6"),
        ({"patience": 3}, "Patience must be a power of two, not 3"),
        (
            {"contents": Contents((), (0,), (0,), (0,), (0,))},
            "Words must be one or more, not ()",
        ),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SelfTest(**CORE | change)


def test_another_seed_has_the_same_core():
    core = r"cell \\(core\w*) \\core$"
    texts = [emit(SelfTest(seed=seed, **CORE)).rtlil for seed in (0, 1)]
    assert texts[0] != texts[1]
    assert re.findall(core, texts[0], re.M) == re.findall(core, texts[1], re.M) != []
