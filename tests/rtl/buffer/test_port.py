from amaranth.lib.wiring import In, Out

from qkloom.rtl.buffer.port import read_port
from qkloom.rtl.formats import I8


def test_members() -> None:
    port = read_port(banks=3, depth=5, shape=I8)
    assert {name: member.flow for name, member in port.members.items()} == {
        "en": Out,
        "bank": Out,
        "address": Out,
        "data": In,
    }
    assert port.members["bank"].shape == range(3)
    assert port.members["address"].shape == range(5)
    assert port.members["data"].shape == I8


def test_there_is_a_bit_for_one_bank_and_one_address() -> None:
    port = read_port(banks=1, depth=1, shape=8)
    assert port.members["bank"].shape == port.members["address"].shape == range(2)
