import re

import pytest

from qkloom.gen.emit import emit
from qkloom.platforms.ulx3s.restart import Restart
from qkloom.tb.simulate import simulate

WAIT = 8


def resets(button):
    """Return the reset before each cycle of a button that is down where ``button`` says so."""
    dut = Restart(wait=WAIT)
    seen = []

    async def drive(ctx):
        ctx.set(dut.button, button[0])
        async for _, _, reset in ctx.tick().sample(dut.reset):
            seen.append(reset)
            ctx.set(dut.button, button[min(len(seen), len(button) - 1)])

    simulate(dut, inputs={}, outputs=[], cycles=len(button), beside=[drive])
    return seen


def test_after_power_up():
    assert resets([0] * 30) == [1] * (WAIT + 1) + [0] * (30 - WAIT - 1)


def test_while_a_button_is_down_and_bounces():
    button = [0] * 20 + [1] * 5 + [0, 1, 0, 0, 1] + [0] * 30
    seen = resets(button)
    rises, falls = seen.index(0) + seen[seen.index(0) :].index(1), len(seen) - seen[::-1].index(1)
    # Two cycles of synchronizer, one of the count and one of the register.
    assert rises == 20 + 4
    assert falls == 30 + 2 + WAIT + 1
    assert all(seen[rises:falls]) and not any(seen[falls:])


@pytest.mark.parametrize(
    ("wait", "error", "message"),
    [
        (0, ValueError, "Wait must be a positive integer, not 0"),
        (12, ValueError, "Wait must be a power of two, not 12"),
        ("8", TypeError, "Wait must be a positive integer, not '8'"),
    ],
)
def test_bad_wait(wait, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Restart(wait=wait)


def test_converts():
    assert "module restart" in emit(Restart(wait=WAIT), verilog=True).verilog
