import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.sequencer.locate import Locator
from qkloom.rtl.stream import connect_stream
from qkloom.tb.simulate import from_bits, simulate, to_bits

TENSOR = {
    "to": 3,
    "blocks": 100,
    "tiles": 4,
    "tokens": 8,
    "size": 8,
    "block": 32,
    "head_dim": 64,
    "element_width": 8,
    "n_channels": 4,
    "data_width": 256,
}


class Located(Component):
    """A locator whose call has so many tiles of head_dim, and these pointers."""

    def __init__(self, *, d_tiles, pointers, tensor=(), narrow=False):
        self._d_tiles, self._pointers, self._narrow = d_tiles, pointers, narrow
        self._tensor = {**TENSOR, **dict(tensor)}
        members = Locator(**self._tensor).signature.members
        super().__init__({"i": members["i"], "o": members["o"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.locator = locator = Locator(**self._tensor)
        m.d.comb += locator.d_tiles.eq(self._d_tiles)
        if self._tensor.get("narrows"):
            m.d.comb += locator.narrow.eq(self._narrow)
        m.d.comb += [locator.pointers[k].eq(p) for k, p in enumerate(self._pointers)]
        connect_stream(m, wiring.flipped(self.i), locator.i)
        connect_stream(m, locator.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("narrow", [None, False, True])
@pytest.mark.parametrize(
    ("d_tiles", "tensor"),
    [
        (1, {}),
        (5, {}),
        (8, {"n_channels": 1}),
        (3, {"element_width": 4}),
        (2, {"size": 32, "block": 32, "head_dim": 64, "tiles": 1, "tokens": 32, "data_width": 128}),
    ],
)
def test_places(d_tiles, tensor, narrow):
    if narrow is not None:
        tensor = tensor | {"element_width": 32, "narrows": True}
    rng = random.Random(d_tiles)
    t = {**TENSOR, **tensor}
    pointers = tuple(rng.randrange(1 << 57) * 64 for _ in range(t["n_channels"]))
    dut = Located(d_tiles=d_tiles, pointers=pointers, tensor=tuple(tensor.items()), narrow=narrow)
    requests = [
        {
            "to": rng.randrange(8),
            "index": rng.randrange(t["blocks"]),
            "tile": rng.randrange(t["tiles"]),
            "tokens": rng.randint(1, t["tokens"]),
        }
        for _ in range(40)
    ]
    log = simulate(
        dut,
        inputs={"i": [to_bits(dut.i.payload.shape(), request) for request in requests]},
        outputs=["o"],
        cycles=4_000,
        idle=50,
        pace={"o": 0.7},
    )
    row_bytes = t["size"] * d_tiles * (8 if narrow else t["element_width"]) // 8
    expected = []
    for request in requests:
        local, channel = divmod(request["index"], t["n_channels"])
        offset = (local * t["block"] + request["tile"] * t["size"]) * row_bytes
        expected.append(
            {
                "to": request["to"],
                "channel": channel,
                "addr": (pointers[channel] + offset) % 2**64,
                "beats": -(-request["tokens"] * row_bytes * 8 // t["data_width"]),
                "tokens": request["tokens"],
            }
        )
    assert [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_channels": 3}, r"^Number of channels must be a power of two, not 3$"),
        ({"block": 12}, r"^Block must be a multiple of size 8, not 12$"),
        ({"data_width": 1024}, r"^A tile of 8 x 8 elements of 8 bits must be whole beats of 1024$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Locator(**{**TENSOR, **changes})


def test_emits():
    emit(Locator(**TENSOR), verilog=True)
