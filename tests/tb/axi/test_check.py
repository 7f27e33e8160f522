import pytest

from qkloom.rtl.axi import AXI4, AXI4Lite, AXI4Read
from qkloom.tb.axi import AXIChecker
from qkloom.tb.simulate import to_bits

BUS = AXI4(data_width=64, address_width=32, id_width=2)
LITE = AXI4Lite(address_width=12)
REQUEST = {"id": 0, "addr": 0x1000, "len": 0, "size": 3, "burst": 1}
READ = {"id": 0, "data": 5, "resp": 0, "last": 1}
WRITE = {"data": 5, "strb": 255, "last": 1}
ANSWER = {"id": 0, "resp": 0}
USUAL = {"ar": REQUEST, "aw": REQUEST, "r": READ, "w": WRITE, "b": ANSWER}


def watch(*cycles, bus=BUS, usual=USUAL):
    """Return what a checker says of cycles: of each, channels with their items' fields.

    A channel named ``ar?`` is not taken in that cycle.
    """
    checker = AXIChecker(bus)
    layouts = {
        name: member.signature.members["payload"].shape for name, member in bus.members.items()
    }
    found = []
    for cycle in cycles:
        values = dict.fromkeys(layouts, (0, 0, 0))
        for name, changed in cycle.items():
            plain = name.rstrip("?")
            bits = to_bits(layouts[plain], {**usual[plain], **changed})
            values[plain] = (1, int(plain == name), bits)
        found += checker.sample(values)
    assert checker.broken == found
    return found, checker.finish()


class TestNothingBroken:
    def test_reads_of_several_ids_mix(self):
        assert watch(
            {"ar": {"len": 1}},
            {"ar": {"id": 1, "len": 2}},
            {"ar": {"len": 0}, "r": {"last": 0}},
            {"r": {"id": 1, "last": 0}},
            {"r": {}},
            {"r": {"id": 1, "last": 0}},
            {"r": {"resp": 2}},
            {"r": {"id": 1, "resp": 3}},
        ) == ([], [])

    @pytest.mark.parametrize("w_first", [False, True])
    def test_data_before_or_after_the_request(self, w_first):
        requests = [{"aw": {"len": 1}}, {"aw": {"id": 2, "len": 0}}]
        data = [{"w": {"last": 0}}, {"w": {}}, {"w": {"strb": 0}}]
        cycles = [*data, *requests] if w_first else [*requests, *data]
        assert watch(*cycles, {"b": {"id": 2}}, {"b": {"resp": 2}}) == ([], [])

    def test_request_and_data_together(self):
        burst = {"aw": {"len": 0}, "w": {}}
        assert watch(burst, {**burst, "b": {}}, {"b": {}}) == ([], [])

    def test_waiting(self):
        assert watch({"ar?": {}}, {}, {}, bus=BUS)[0] != []
        assert watch({"ar?": {}}, {"ar?": {}}, {"ar": {}}, {"r?": {}}, {"r": {}}) == ([], [])

    @pytest.mark.parametrize(
        "request_",
        [
            {"addr": 0x1000 - 64 * 8, "len": 63},
            {"addr": 0x1001, "len": 255, "size": 0},
            {"addr": 0xFFF, "len": 0},
            {"addr": 0xFF8, "len": 15, "burst": 0},
            {"addr": 0xFF8, "len": 15, "burst": 2},
        ],
    )
    def test_legal_requests(self, request_):
        assert watch({"ar": request_})[0] == []

    def test_half_a_bus(self):
        bus = AXI4Read(data_width=64, address_width=32, id_width=2)
        assert watch({"ar": {}}, {"r": {}}, bus=bus) == ([], [])


@pytest.mark.parametrize(
    ("cycles", "message"),
    [
        ([{"ar?": {}}, {}], "AR withdrew an item that nobody had taken, in cycle 1"),
        ([{"w?": {}}, {"w": {"strb": 0}}], "W changed an item that nobody had taken, in cycle 1"),
        ([{"ar": {"size": 4}}], "AR has beats of 16 bytes on a bus of 8, in cycle 0"),
        ([{"aw": {"burst": 3}}], "AW is a burst of kind 3, in cycle 0"),
        (
            [{"ar": {"addr": 0x0E08, "len": 63}}],
            "AR crosses 4096 bytes with 64 beats from 0xe08, in cycle 0",
        ),
        (
            [{"aw": {"addr": 0x0FFF, "len": 1, "size": 0}}],
            "AW crosses 4096 bytes with 2 beats from 0xfff, in cycle 0",
        ),
        ([{"ar": {"len": 16, "burst": 0}}], "AR is a fixed burst of 17 beats, in cycle 0"),
        (
            [{"ar": {"len": 2, "burst": 2}}],
            "AR is a wrapping burst of 3 beats from 0x1000, in cycle 0",
        ),
        (
            [{"ar": {"addr": 0x1004, "len": 3, "burst": 2}}],
            "AR is a wrapping burst of 4 beats from 0x1004, in cycle 0",
        ),
        ([{"aw": {"len": 1}}, {"w": {}}], "W has a last with beat 1 of 2, in cycle 1"),
        ([{"aw": {}}, {"w": {"last": 0}}], "W has no last with beat 1 of 1, in cycle 1"),
        ([{"w": {}}, {"aw": {"len": 1}}], "AW asks for 2 beats, of which W had 1, in cycle 1"),
        (
            [{"w": {"last": 0}}, {"aw": {}}],
            "AW asks for 1 beats, of which W had 1 without the last, in cycle 1",
        ),
        ([{"b": {}}], "B answers what ID 0 has not written, in cycle 0"),
        ([{"aw": {}}, {"b": {}}], "B answers what ID 0 has not written, in cycle 1"),
        ([{"w": {}}, {"b": {}}], "B answers what ID 0 has not written, in cycle 1"),
        ([{"aw": {}, "w": {}, "b": {}}], "B answers what ID 0 has not written, in cycle 0"),
        (
            [{"aw": {"id": 1}, "w": {}}, {"b": {}}],
            "B answers what ID 0 has not written, in cycle 1",
        ),
        (
            [{"aw": {}, "w": {}}, {"b": {}}, {"b": {}}],
            "B answers what ID 0 has not written, in cycle 2",
        ),
        ([{"ar": {}, "r": {}}], "R answers what ID 0 has not asked for, in cycle 0"),
        ([{"ar": {}}, {"r": {"id": 3}}], "R answers what ID 3 has not asked for, in cycle 1"),
        ([{"ar": {"len": 1}}, {"r": {}}], "R has a last with beat 1 of 2, in cycle 1"),
        ([{"ar": {}}, {"r": {"last": 0}}], "R has no last with beat 1 of 1, in cycle 1"),
        ([{"ar": {}}, {"r": {"resp": 1}}], "R answers as to an exclusive access, in cycle 1"),
    ],
)
def test_broken(cycles, message):
    assert watch(*cycles)[0] == [message]


@pytest.mark.parametrize(
    ("cycles", "message"),
    [
        ([{"ar": {}}, {"ar": {"id": 1}}], "R of 2 bursts never came"),
        ([{"ar": {"len": 1}}, {"r": {"last": 0}}], "R of 1 bursts never came"),
        ([{"aw": {}}], "W of 1 bursts never came"),
        ([{"w": {}}], "AW of 1 bursts never came"),
        ([{"w": {"last": 0}}], "AW of 1 bursts never came"),
        ([{"aw": {}, "w": {}}], "B of 1 bursts never came"),
    ],
)
def test_unfinished(cycles, message):
    assert watch(*cycles) == ([], [message])


class TestLite:
    USUAL = {
        "ar": {"addr": 4},
        "aw": {"addr": 4},
        "w": {"data": 1, "strb": 15},
        "r": {"data": 1, "resp": 0},
        "b": {"resp": 0},
    }

    def watch(self, *cycles):
        return watch(*cycles, bus=LITE, usual=self.USUAL)

    def test_nothing_broken(self):
        cycles = [{"ar": {}, "w": {}}, {"aw": {}, "r": {}}, {"b": {}}]
        assert self.watch(*cycles) == ([], [])

    def test_broken(self):
        assert self.watch({"aw": {}}, {"b": {}})[0] == [
            "B answers what ID 0 has not written, in cycle 1"
        ]
        assert self.watch({"r": {}})[0] == ["R answers what ID 0 has not asked for, in cycle 0"]
