import re
from random import Random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assume, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.index.difference import ListDifference
from qkloom.rtl.index.list import list_layout
from qkloom.rtl.stream import connect_stream
from qkloom.tb.formal import ProofError, obey, witness
from qkloom.tb.index.difference import differences
from qkloom.tb.simulate import simulate
from tests.rtl.index.lists import items_of, lists_of

NAMES = ("chosen", "resident", "load", "evict")


class DifferenceClaims(Component):
    """Of two ascending lists, the differences ascend and are right; bounded, one pair of lists."""

    def __init__(self, *, blocks):
        self.blocks = blocks
        lists = stream.Signature(list_layout(blocks))
        super().__init__(
            {
                **{name: In(lists) for name in NAMES[:2]},
                **{name: Out(lists) for name in NAMES[2:]},
                "both_end": Out(1),
                "broken": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = ListDifference(blocks=self.blocks)
        seen, wrong = {}, []
        for name in NAMES:
            port, inner = getattr(self, name), getattr(dut, name)
            is_input = name in NAMES[:2]
            if is_input:
                connect_stream(m, wiring.flipped(port), inner)
                obey(m, Assume, port, name)
            else:
                connect_stream(m, inner, wiring.flipped(port))
            # What the list had so far, and whether it has ended.
            mask = Signal(self.blocks, name=f"{name}_mask")
            ended = Signal(name=f"{name}_ended")
            bit = Signal(self.blocks, name=f"{name}_bit")
            item = inner.payload
            m.d.comb += bit.eq(1 << item.block)
            ascends = ((mask & ~(bit - 1)) == 0) & ~ended
            if is_input:
                with m.If(inner.valid):
                    m.d.comb += Assume(~ended & (item.end | ascends))
            with m.If(inner.valid & inner.ready):
                m.d.sync += ended.eq(item.end)
                with m.If(~item.end):
                    m.d.sync += mask.eq(mask | bit)
            if not is_input:
                wrong.append(inner.valid & ~item.end & ~ascends)
            seen[name] = mask, ended
        (chosen, _), (resident, _), (load, done), (evict, gone) = seen.values()
        wrong += [(done & (load != chosen & ~resident)), (gone & (evict != resident & ~chosen))]
        m.d.comb += [
            self.broken.eq(Cat(wrong).any()),
            self.both_end.eq(done & gone & load.any() & (chosen & resident).any()),
        ]
        return m


def test_proof(require):
    """Every run of so many cycles, which is two lists in full, whatever the stalls."""
    require("yosys")
    design = emit(DifferenceClaims(blocks=2), name="claims")
    assert witness(design, "both_end", depth=9) > 4
    with pytest.raises(ProofError, match=r"^claims has no run of 9 cycles that sets broken$"):
        witness(design, "broken", depth=9)


def run(blocks, pairs, **pace):
    dut = ListDifference(blocks=blocks)
    inputs = {name: items_of([p[k] for p in pairs], blocks) for k, name in enumerate(NAMES[:2])}
    logs = simulate(dut, inputs=inputs, outputs=NAMES[2:], cycles=20_000, idle=100, pace=pace)
    found = [lists_of(logs[name].items, blocks) for name in NAMES[2:]]
    return logs, list(zip(*found, strict=True))


@pytest.mark.parametrize("blocks", [1, 2, 9, 100])
@pytest.mark.parametrize(
    "pace",
    [
        {},
        {"chosen": 0.4},
        {"resident": 0.4, "load": 0.9},
        {"load": 0.3},
        {"evict": 0.2, "load": 0.6},
    ],
)
def test_differences(blocks, pace):
    rng = Random(blocks)
    pairs = []
    for _ in range(25):
        density = rng.choice([0, 0.3, 1]), rng.choice([0, 0.3, 1])
        pairs.append([[b for b in range(blocks) if rng.random() < d] for d in density])
    _, found = run(blocks, pairs, **pace)
    assert found == [differences(*pair) for pair in pairs]


SOME = st.sets(st.integers(0, 30)).map(sorted)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.lists(st.tuples(SOME, SOME), min_size=1, max_size=6))
def test_any_lists(pairs):
    assert run(31, pairs)[1] == [differences(*pair) for pair in pairs]


def test_an_entry_a_cycle():
    logs, _ = run(64, [(list(range(20)), list(range(40, 50)))])
    assert logs["load"].cycles[:20] == list(range(2, 22))
    assert logs["evict"].cycles == list(range(22, 33))
    assert logs["load"].cycles[20] == 32  # both end at once
    logs, _ = run(64, [(list(range(20)), list(range(20)))])
    assert logs["chosen"].cycles == list(range(21))


def test_never_ready():
    logs, _ = run(8, [([1, 2], [3])], load=lambda cycle: cycle >= 30)
    assert logs["load"].valid_cycles[:28] == list(range(2, 30))


def test_conversion():
    rtlil.convert(ListDifference(blocks=12))


def test_wrong_count():
    message = re.escape("Blocks must be a positive integer, not -4")
    with pytest.raises(ValueError, match=f"^{message}$"):
        ListDifference(blocks=-4)
