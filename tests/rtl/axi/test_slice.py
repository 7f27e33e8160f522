import re
from random import Random

import pytest
from amaranth.hdl import Value
from amaranth.lib import wiring

from qkloom.gen.emit import emit
from qkloom.rtl.axi import AXI4, AXI4Lite, AXI4Read, AXI4Write, AXISlice
from qkloom.rtl.stream import RegisterSlice
from qkloom.tb.simulate import simulate

BUSES = [
    AXI4(data_width=32, id_width=3),
    AXI4Read(data_width=64),
    AXI4Write(data_width=8, address_width=12),
    AXI4Lite(address_width=12),
]
LATENCY = {"full": 1, "forward": 1, "reverse": 0, "half": 1}


@pytest.mark.parametrize("mode", RegisterSlice.modes)
@pytest.mark.parametrize("bus", BUSES, ids=repr)
class TestSlice:
    def run(self, bus, mode, **pace):
        dut = AXISlice(bus=bus, mode=mode)
        rng = Random(mode)
        sent = {}
        pairs = {}
        for name, member in bus.members.items():
            src, dst = ("i", "o") if member.flow == wiring.Out else ("o", "i")
            width = len(Value.cast(getattr(dut.i, name).payload))
            sent[f"{src}__{name}"] = [rng.getrandbits(width) for _ in range(10)]
            pairs[f"{src}__{name}"] = f"{dst}__{name}"
        logs = simulate(dut, inputs=sent, outputs=list(pairs.values()), cycles=80, pace=pace)
        for src, dst in pairs.items():
            assert logs[dst].items == sent[src]
        return logs, pairs

    def test_every_channel_goes_its_way(self, bus, mode):
        logs, pairs = self.run(bus, mode)
        for src, dst in pairs.items():
            late = [b - a for a, b in zip(logs[src].cycles, logs[dst].cycles, strict=True)]
            assert late == [LATENCY[mode]] * 10
            assert logs[dst].cycles[-1] - logs[dst].cycles[0] == (18 if mode == "half" else 9)

    def test_random(self, bus, mode):
        names = [f"{side}__{name}" for side in "io" for name in bus.members]
        self.run(bus, mode, **dict.fromkeys(names, 0.6))

    def test_conversion(self, bus, mode):
        assert emit(AXISlice(bus=bus, mode=mode)).name.startswith("axi_slice")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"bus": 5}, TypeError, "Only an AXI bus can be sliced, not 5"),
        (
            {"mode": "both"},
            ValueError,
            "Mode must be one of full, forward, reverse, half, not 'both'",
        ),
    ],
)
def test_errors(changed, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        AXISlice(**{"bus": BUSES[0], **changed})
