"""The best slot is the best slot, whatever changes."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.cache.tournament import Tournament
from qkloom.tb.simulate import simulate, to_bits


def run(dut, changes, cycles=20_000):
    """Return (slot, key) of the best one after each change, and the cycles of the changes."""
    seen = []

    async def watch(ctx):
        was = 0
        async for _, _, settled, slot, key in ctx.tick().sample(
            dut.settled, dut.best.slot, dut.best.key
        ):
            if settled and not was:
                seen.append((slot, key))
            was = settled

    shape = dut.i.payload.shape()
    inputs = {"i": [to_bits(shape, change) for change in changes]}
    log = simulate(dut, inputs=inputs, outputs=[], cycles=cycles, idle=100, beside=[watch])
    return seen, log["i"].cycles


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("key_width", [1, 6])
def test_best_of_all(slots, key_width):
    rng = random.Random(slots)
    most = (1 << key_width) - 1
    keys = [most] * slots
    expected = [(0, most)]
    changes = []
    for _ in range(120):
        slot, key = rng.randrange(slots), rng.choice([0, most, rng.randint(0, most)])
        keys[slot] = key
        changes.append({"slot": slot, "key": key})
        best = max(keys)
        expected.append((keys.index(best), best))
    got = [one for one in run(Tournament(slots=slots, key_width=key_width), changes)[0]]
    # With all keys 0 nobody asks which slot it is.
    assert [(key and slot, key) for slot, key in got] == [
        (key and slot, key) for slot, key in expected
    ]


@pytest.mark.parametrize("slots", [3, 5, 8])
def test_any_slot_may_change_first(slots):
    for first in range(slots):
        dut = Tournament(slots=slots, key_width=3)
        order = [(first + k) % slots for k in range(slots)]
        seen, _ = run(dut, [{"slot": slot, "key": 1} for slot in order])
        left = [min(order[k:], default=0) for k in range(slots + 1)]
        assert seen == [*((slot, 7) for slot in left[:-1]), (0, 1)]


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_takes_two_cycles_a_level_and_two_more(slots):
    levels = slots.bit_length() - 1
    _, cycles = run(Tournament(slots=slots, key_width=3), 3 * [{"slot": 0, "key": 1}])
    assert cycles[1] - cycles[0] == cycles[2] - cycles[1] == 2 * levels + 2


def test_errors():
    with pytest.raises(ValueError, match=r"^Slots must be a positive integer, not 0$"):
        Tournament(slots=0, key_width=3)
    with pytest.raises(ValueError, match=r"^Key width must be a positive integer, not 0$"):
        Tournament(slots=2, key_width=0)


def test_emits():
    emit(Tournament(slots=3, key_width=4), verilog=True)
