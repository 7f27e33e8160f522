import re

import pytest
from amaranth.lib import stream
from amaranth.lib.wiring import Out

from qkloom.gen.emit import emit
from qkloom.platforms.selftest.feed import Feed
from qkloom.tb.simulate import simulate

WORDS = (3, 250, 0, 77, 128)


def test_attributes():
    assert Feed(shape=8, words=WORDS).signature.members["o"] == Out(stream.Signature(8))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Words must be one or more, not ()"),
        ((1, 256), "Words must have 8 bits, unlike 256"),
        ((-1,), "Words must have 8 bits, unlike -1"),
    ],
)
def test_bad_words(words, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Feed(shape=8, words=words)


@pytest.mark.parametrize("words", [WORDS, WORDS[:4], WORDS[:1]])
@pytest.mark.parametrize("pace", [1, 0.4])
def test_repeats_its_words(words, pace):
    dut = Feed(shape=8, words=words)
    log = simulate(dut, inputs={}, outputs=["o"], cycles=60, pace={"o": pace})["o"]
    assert len(log.items) > 3 * len(words)
    assert log.items == [words[k % len(words)] for k in range(len(log.items))]
    if pace == 1:
        assert log.cycles == list(range(1, 60))


def test_offers_until_it_is_taken():
    dut = Feed(shape=8, words=WORDS)
    log = simulate(dut, inputs={}, outputs=["o"], cycles=20, pace={"o": 0})["o"]
    assert log.valid_cycles == list(range(1, 20))


def test_converts():
    assert "module feed" in emit(Feed(shape=8, words=WORDS), verilog=True).verilog
