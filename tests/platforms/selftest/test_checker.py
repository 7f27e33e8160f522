import re

import pytest

from qkloom.gen.emit import emit
from qkloom.platforms.selftest.checker import Checker
from qkloom.tb.simulate import simulate

WORDS = (3, 250, 0, 77, 128)


def check(items, *, words=WORDS, cycles=60, pace=1.0, spoilt=None, patience=64):
    """Return passed, failed and rounds before each cycle."""
    dut = Checker(shape=8, words=words, patience=patience)
    seen = []

    async def watch(ctx):
        outputs = (dut.passed, dut.failed, dut.rounds)
        async for _, _, *values in ctx.tick().sample(*outputs):
            seen.append(tuple(values))
            ctx.set(dut.spoil, len(seen) == spoilt)

    log = simulate(
        dut,
        inputs={"i": items},
        outputs=[],
        cycles=cycles,
        pace={"i": pace},
        beside=[watch],
    )["i"]
    assert len(log.items) == len(items)
    return seen, log


@pytest.mark.parametrize("words", [WORDS, WORDS[:4], WORDS[:1]])
@pytest.mark.parametrize("pace", [1, 0.5])
def test_passes_what_is_right(words, pace):
    seen, log = check(list(words) * 2, words=words, pace=pace)
    assert seen[-1] == (1, 0, 2)
    # A verdict comes three cycles after the last item of a round, and shows in the next.
    end = log.cycles[len(words) - 1]
    assert [row[0] for row in seen] == [cycle > end + 3 for cycle in range(len(seen))]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("bit", [0, 4, 7])
def test_fails_on_one_wrong_bit(place, bit):
    items = list(WORDS) * 3
    items[5 + place] ^= 1 << bit
    seen, log = check(items)
    noticed = log.cycles[5 + place] + 4
    assert [row[1] for row in seen] == [cycle >= noticed for cycle in range(len(seen))]
    assert not any(row[0] for row in seen[noticed:])


def test_fails_when_an_item_is_missing():
    assert check([*WORDS[:2], *WORDS[3:], *WORDS])[0][-1][1]


def test_spoilt():
    seen, _ = check(list(WORDS) * 3, spoilt=7)
    assert [row[1] for row in seen] == [cycle >= 7 + 4 for cycle in range(len(seen))]


def test_nothing_to_spoil():
    assert check(list(WORDS), spoilt=30)[0][-1] == (1, 0, 1)


@pytest.mark.parametrize("n", [0, 5, 8])
def test_fails_when_nothing_comes(n):
    seen, _ = check([WORDS[k % 5] for k in range(n)], patience=16)
    assert [row[1] for row in seen] == [cycle >= n + 16 + 1 for cycle in range(len(seen))]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"words": ()}, ValueError, "Words must be one or more, not ()"),
        ({"words": (1, 999)}, ValueError, "Words must have 8 bits, unlike 999"),
        ({"patience": 24}, ValueError, "Patience must be a power of two, not 24"),
        ({"patience": 0}, ValueError, "Patience must be a positive integer, not 0"),
        ({"patience": 1.5}, TypeError, "Patience must be a positive integer, not 1.5"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Checker(**{"shape": 8, "words": WORDS} | change)


def test_converts():
    assert "module checker" in emit(Checker(shape=8, words=WORDS), verilog=True).verilog
