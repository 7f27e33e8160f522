import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.sequencer.lookup import Lookup
from qkloom.rtl.stream import connect_stream
from qkloom.tb.simulate import from_bits, simulate, to_bits

BASE = 0xFFFF_FFC0  # the table lies across a carry into the high half


class LookedUp(Component):
    def __init__(self, *, entries, entry_width, data_width):
        self._inner = dict(self.parameters)
        members = Lookup(**self._inner).signature.members
        super().__init__({name: members[name] for name in ("i", "o", "command", "beat")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.lookup = lookup = Lookup(**self._inner)
        m.d.comb += lookup.base.eq(BASE)
        connect_stream(m, wiring.flipped(self.i), lookup.i)
        connect_stream(m, lookup.o, wiring.flipped(self.o))
        connect_stream(m, lookup.command, wiring.flipped(self.command))
        connect_stream(m, wiring.flipped(self.beat), lookup.beat)
        return m


@pytest.mark.parametrize("entry_width", [32, 128])
def test_answers(entry_width):
    rng = random.Random(entry_width)
    table = [rng.randrange(1 << entry_width) for _ in range(40)]
    asked = [rng.choice([k, rng.randrange(40)]) for k in range(40)]
    dut = LookedUp(entries=40, entry_width=entry_width, data_width=128)
    per_beat = 128 // entry_width
    lines = []
    for number in asked:
        if not lines or lines[-1] != number // per_beat:
            lines.append(number // per_beat)
    beats = [
        {
            "data": sum(table[line * per_beat + k] << k * entry_width for k in range(per_beat)),
            "last": 1,
        }
        for line in lines
    ]
    log = simulate(
        dut,
        inputs={"i": asked, "beat": [to_bits(dut.beat.payload.shape(), beat) for beat in beats]},
        outputs=["o", "command"],
        cycles=4_000,
        idle=60,
        pace=dict.fromkeys(["i", "o", "command", "beat"], 0.6),
    )
    assert log["o"].items == [table[number] for number in asked]
    commands = [from_bits(dut.command.payload.shape(), bits) for bits in log["command"].items]
    assert commands == [{"addr": BASE + 16 * line, "beats": 1} for line in lines]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry_width": 24}, r"^Entry width must be a power of two, not 24$"),
        ({"entry_width": 256}, r"^Entry width must be at most 128, not 256$"),
        ({"entries": 0}, r"^Entries must be a positive integer, not 0$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Lookup(**{"entries": 40, "entry_width": 32, "data_width": 128, **changes})


def test_emits():
    emit(Lookup(entries=40, entry_width=32, data_width=256), verilog=True)
