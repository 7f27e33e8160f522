"""A testbench that does not belong to the design is refused before anything runs."""

import numpy as np
import pytest

from qkloom.tb.engines.plan import make_plan
from qkloom.tb.stalls import FREE, Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench


def plan(design, inputs=None, outputs=None, **options):
    return make_plan(design, Testbench(inputs or {}, outputs or {}, max_cycles=1, **options))


def test_every_stream_has_a_channel(toy):
    channels = {channel.name: channel for channel in plan(toy).channels}
    names = ["i", "o", "o_tap", "ports__0", "ports__1", "answers__0", "answers__1"]
    assert list(channels) == names
    assert [c.is_input for c in channels.values()] == [True, False, False, True, True, False, False]
    assert {name: c.width for name, c in channels.items()}["o"] == 9 * 16 + 20 + 1
    assert channels["i"].count == 0
    assert channels["o"].count is None
    assert all(channel.stall == FREE for channel in channels.values())
    assert channels["o_tap"].ports.ready is None


def test_words_and_levels(toy):
    made = plan(toy, {"ports__1": Stimulus([1, 2])}, levels={"offset": -1})
    assert {c.name: c.count for c in made.channels}["ports__1"] == 2
    assert {name: words.tolist() for name, words in made.levels.items()} == {"offset": [[0x1FF]]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"inputs": {"o": Stimulus([])}},
            r"^toy has no input stream 'o'; it has: i, ports__0, ports__1$",
        ),
        (
            {"outputs": {"out": Expectation()}},
            r"^toy has no output stream 'out'; it has: o, o_tap, answers__0, answers__1$",
        ),
        (
            {"levels": {"i__valid": 1}},
            r"^toy has no input port outside its streams 'i__valid'; it has: offset$",
        ),
        ({"levels": {"offset": 512}}, r"^offset: payload holds -256 to 511, not 512$"),
        (
            {"inputs": {"i": Stimulus(np.zeros((1, 2), np.uint32))}},
            r"^i: A payload of 80 bits takes 3 words, not 2$",
        ),
        (
            {"outputs": {"o_tap": Expectation(stall=Stall(0.5))}},
            r"^o_tap is always ready and cannot stall$",
        ),
    ],
)
def test_errors(toy, arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(toy, **arguments)
