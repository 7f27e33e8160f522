import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assume, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.list import list_layout
from qkloom.rtl.index.scan import MaskScanner, word_layout
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import ProofError, obey, witness
from qkloom.tb.simulate import simulate, to_bits
from tests.rtl.index.lists import lists_of


class ScannerClaims(Component):
    """Lists ascend, have no entry twice, and as many as the mask has bits: for one mask at a time.

    A free bit of all masks is followed: it comes out exactly if it is set. Bounded: a broken claim
    sets a port, and no run of some length does.
    """

    def __init__(self, *, blocks, width):
        self.blocks, self.width = blocks, width
        word = stream.Signature(word_layout(width))
        super().__init__(
            {
                "i": In(word),
                "o": Out(stream.Signature(list_layout(blocks))),
                "picked": In(range(blocks)),
                "all_taken": Out(1),
                "broken": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = MaskScanner(blocks=self.blocks, word_width=self.width)
        i, o = dut.i, dut.o
        # One mask at a time: the next one comes when the list before has ended.
        is_inside = Signal()
        connect_stream(m, wiring.flipped(self.i), i)
        m.d.comb += [
            i.valid.eq(self.i.valid & ~is_inside),
            self.i.ready.eq(i.ready & ~is_inside),
        ]
        connect_stream(m, o, wiring.flipped(self.o))
        obey(m, Assume, self.i, "i")
        late = Signal()
        wrong = Signal()
        m.d.comb += self.broken.eq(late | wrong)
        n_words = self.blocks // self.width
        word = Signal(range(n_words + 1))
        enters, leaves = i.valid & i.ready, o.valid & o.ready
        picked = self.picked  # any, but always the same
        before = Signal(range(self.blocks), reset_less=True)
        started = Signal(reset_less=True)
        m.d.sync += [started.eq(1), before.eq(picked)]
        m.d.comb += Assume(~started | (picked == before))
        expected = Signal(range(self.blocks + 1))
        count = Signal(range(self.blocks + 1))
        is_set = Signal()
        was_seen = Signal()
        next_least = Signal(range(self.blocks + 1))
        with m.If(i.valid):
            m.d.comb += Assume(i.payload.last == (word == n_words - 1))
        with m.If(enters):
            m.d.sync += [word.eq(word + 1), expected.eq(expected + sum(i.payload.mask))]
            for k in range(self.width):
                with m.If((picked == word * self.width + k) & i.payload.mask[k]):
                    m.d.sync += is_set.eq(1)
            with m.If(i.payload.last):
                m.d.sync += is_inside.eq(1)
        with m.If(leaves & ~o.payload.end):
            m.d.comb += late.eq(o.payload.block < next_least)
            m.d.sync += [next_least.eq(o.payload.block + 1), count.eq(count + 1)]
            with m.If(o.payload.block == picked):
                m.d.sync += was_seen.eq(1)
        with m.If(leaves & o.payload.end):
            right = is_inside & (count == expected) & (was_seen == is_set)
            m.d.comb += wrong.eq(~right)
            m.d.comb += self.all_taken.eq(count == self.blocks)
            m.d.sync += [
                *(x.eq(0) for x in (word, expected, count, is_set, was_seen, next_least)),
                is_inside.eq(0),
            ]
        return m


def lists(words, width):
    """Return the bits of masks."""
    found, mask, at = [], [], 0
    for word, last in words:
        mask += [at + k for k in range(width) if word >> k & 1]
        at += width
        if last:
            found.append(mask)
            mask, at = [], 0
    return found


def masks(rng, blocks, width, n):
    n_words = -(-blocks // width)
    words = []
    for _ in range(n):
        density = rng.choice([0, 0.05, 0.5, 1])
        length = rng.randint(1, n_words)
        for k in range(length):
            some = min(width, blocks - k * width)
            word = sum((rng.random() < density) << bit for bit in range(some))
            words.append((word, k == length - 1))
    return words


SIZES = [(1, 4), (5, 4), (8, 8), (30, 8), (64, 32), (100, 32)]


@pytest.mark.parametrize(("blocks", "width"), SIZES)
class TestBehaviour:
    def run(self, blocks, width, words, **pace):
        dut = MaskScanner(blocks=blocks, word_width=width)
        sent = [to_bits(word_layout(width), {"mask": w, "last": last}) for w, last in words]
        return simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=9000, idle=50, pace=pace)

    @pytest.mark.parametrize(("i", "o"), [(1, 1), (0.3, 1), (1, 0.4), (0.7, 0.7)])
    def test_all_bits_in_order(self, blocks, width, i, o):
        words = masks(Random(blocks), blocks, width, 30)
        logs = self.run(blocks, width, words, i=i, o=o)
        assert lists_of(logs["o"].items, blocks) == lists(words, width)

    def test_an_entry_a_cycle(self, blocks, width):
        n_words = -(-blocks // width)
        bits = [min(width, blocks - k * width) for k in range(n_words)]
        full = [((1 << n) - 1, k == n_words - 1) for k, n in enumerate(bits)]
        logs = self.run(blocks, width, full)
        assert logs["o"].cycles == list(range(4, 4 + blocks + 1))

    def test_an_empty_word_is_a_cycle(self, blocks, width):
        n_words = -(-blocks // width)
        logs = self.run(blocks, width, [(0, k == n_words - 1) for k in range(n_words)])
        assert logs["o"].cycles == [4 + n_words - 1]

    def test_conversion(self, blocks, width):
        rtlil.convert(MaskScanner(blocks=blocks, word_width=width))


def test_never_ready():
    dut = MaskScanner(blocks=8, word_width=8)
    sent = [to_bits(word_layout(8), {"mask": 6, "last": 1})]
    logs = simulate(dut, inputs={"i": sent}, outputs=["o"], cycles=20, pace={"o": 0})
    assert logs["o"].valid_cycles == list(range(4, 20))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"blocks": 0}, ValueError, "Blocks must be a positive integer, not 0"),
        ({"word_width": "8"}, TypeError, "Word width must be a positive integer, not '8'"),
        ({"word_width": 2}, ValueError, "Word width must be a power of two of at least 4, not 2"),
        ({"word_width": 12}, ValueError, "Word width must be a power of two of at least 4, not 12"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        MaskScanner(**{"blocks": 16} | change)


@pytest.mark.parametrize(("blocks", "width", "depth"), [(4, 4, 11)])
def test_proof(require, blocks, width, depth):
    """Every run of so many cycles, which is a mask in full and more, whatever the stalls."""
    require("yosys")
    design = emit(ScannerClaims(blocks=blocks, width=width), name="claims")
    assert blocks < witness(design, "all_taken", depth=depth) <= depth
    with pytest.raises(
        ProofError, match=rf"^claims has no run of {depth} cycles that sets broken$"
    ):
        witness(design, "broken", depth=depth)
