from itertools import pairwise

import pytest

from qkloom.rtl.axi import AXI4
from qkloom.tb.axi import AXIChecker, Responder
from qkloom.tb.simulate import from_bits, to_bits

BUS = AXI4(data_width=32, address_width=32, id_width=2)
LAYOUTS = {name: member.signature.members["payload"].shape for name, member in BUS.members.items()}


def play(memory, *, cycles, reads=(), writes=(), beats=(), ready=lambda cycle: True):
    """Send requests and beats as fast as they are taken; return the answers with their cycles."""
    checker = AXIChecker(BUS)
    usual = {"size": 2, "burst": 1}
    waiting = {
        "ar": [to_bits(LAYOUTS["ar"], {**usual, **item}) for item in reads],
        "aw": [to_bits(LAYOUTS["aw"], {**usual, **item}) for item in writes],
        "w": [to_bits(LAYOUTS["w"], item) for item in beats],
    }
    driven = {"ar": 0, "aw": 0, "w": 0}
    found = {"r": [], "b": []}
    for cycle in range(cycles):
        seen = {}
        for name, items in waiting.items():
            seen[name] = (int(bool(items)), int(driven[name]), items[0] if items else 0)
        for name in ("r", "b"):
            seen[name] = (int(name in driven), int(ready(cycle)), driven.get(name, 0))
            if name in driven and ready(cycle):
                found[name].append((cycle, from_bits(LAYOUTS[name], driven[name])))
        assert checker.sample(seen) == []
        for name, items in waiting.items():
            del items[: seen[name][0] & seen[name][1]]
        driven = memory.step(seen)
    assert checker.finish() == []
    return found


class TestReading:
    def test_latency_and_data(self):
        memory = Responder(BUS, latency=(7, 7))
        found = play(memory, cycles=20, reads=[{"id": 1, "addr": 0x40, "len": 3}])
        # Nothing is ready in the first cycle.
        assert found["r"] == [
            (
                8 + k,
                {"id": 1, "data": memory.beat(0x40 + 4 * k), "resp": 0, "last": int(k == 3)},
            )
            for k in range(4)
        ]
        assert memory.reads == [(0x40, 4)]

    def test_ids_mix_and_each_keeps_its_order(self):
        memory = Responder(BUS, latency=(1, 9), seed=4)
        reads = [{"id": k % 3, "addr": 0x100 * k, "len": 5} for k in range(9)]
        found = play(memory, cycles=150, reads=reads, ready=lambda cycle: cycle % 3)
        items = [item for _, item in found["r"]]
        for identity in range(3):
            mine = [item["data"] for item in items if item["id"] == identity]
            assert mine == [
                memory.beat(0x100 * k + 4 * j) for k in range(identity, 9, 3) for j in range(6)
            ]
        changes = [a["id"] != b["id"] and not a["last"] for a, b in pairwise(items)]
        assert sum(changes) > 10

    def test_errors(self):
        memory = Responder(BUS, errors={0x44: 2, 0x48: 3})
        found = play(memory, cycles=20, reads=[{"id": 0, "addr": 0x40, "len": 3}])
        assert [item["resp"] for _, item in found["r"]] == [0, 2, 3, 0]

    def test_bytes_differ(self):
        memory = Responder(BUS)
        assert len({memory.beat(4 * k) for k in range(1000)}) == 1000


class TestWriting:
    WRITES = [{"id": 2, "addr": 0x40, "len": 1}, {"id": 0, "addr": 0x80, "len": 0}]
    BEATS = [
        {"data": 0x04030201, "strb": 5, "last": 0},
        {"data": 0x08070605, "strb": 15, "last": 1},
        {"data": 9, "strb": 0, "last": 1},
    ]

    @pytest.mark.parametrize("w_first", [False, True])
    @pytest.mark.parametrize("pace", [1.0, 0.4])
    def test_bytes(self, w_first, pace):
        memory = Responder(BUS, latency=(1, 5), pace=pace, w_first=w_first, errors={0x44: 2})
        found = play(memory, cycles=60, writes=self.WRITES, beats=self.BEATS)
        assert memory.written == {0x40: 1, 0x42: 3, 0x44: 5, 0x45: 6, 0x46: 7, 0x47: 8}
        assert memory.writes == [(0x40, 2), (0x44, 4)]
        assert {item["id"]: item["resp"] for _, item in found["b"]} == {2: 2, 0: 0}
        assert memory.beat(0x44) == 0x08070605

    def test_request_waits_for_data(self):
        memory = Responder(BUS, w_first=True)
        found = play(memory, cycles=30)
        assert found == {"r": [], "b": []}
        seen = {name: (0, 0, 0) for name in LAYOUTS}
        request = to_bits(LAYOUTS["aw"], {**self.WRITES[1], "size": 2, "burst": 1})
        for _ in range(5):
            assert not memory.step({**seen, "aw": (1, 0, request)})["aw"]
        beat = to_bits(LAYOUTS["w"], self.BEATS[2])
        assert memory.step({**seen, "aw": (1, 0, request), "w": (1, 0, beat)})["aw"]
