"""Beats become rows, at one a cycle, over all ends."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.rtl.mover.frame import Framer
from qkloom.tb.simulate import from_bits, simulate, to_bits


class Framed(Component):
    """A framer of tokens of so many rows."""

    def __init__(self, *, d_tiles, fills, data_width=128):
        self._d_tiles = d_tiles
        self._inner = {
            "to": 3,
            "size": 4,
            "element_width": 8,
            "tokens": 4,
            "head_dim": 16,
            "data_width": data_width,
            "fills": fills,
        }
        members = dict(Framer(**self._inner).signature.members)
        del members["d_tiles"]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.framer = framer = Framer(**self._inner)
        m.d.comb += framer.d_tiles.eq(self._d_tiles)
        wiring.connect(m, wiring.flipped(self.i), framer.i)
        wiring.connect(m, wiring.flipped(self.beat), framer.beat)
        wiring.connect(m, framer.o, wiring.flipped(self.o))
        return m


def fetches(rng, n, d_tiles, per_beat, fills, most=4):
    """Return fetches, their beats, and the rows that come of them."""
    frames, beats, rows = [], [], []
    for _ in range(n):
        tokens, to = rng.randint(1, most), rng.randrange(8)
        frames.append({"to": to, "tokens": tokens})
        data = [[rng.randint(-128, 127) for _ in range(4)] for _ in range(tokens * d_tiles)]
        n_beats = -(-len(data) // per_beat)
        filled = data + [[rng.randint(-128, 127)] * 4] * (n_beats * per_beat - len(data))
        for k in range(n_beats):
            bits = b"".join(
                bytes(x & 255 for x in row) for row in filled[k * per_beat : (k + 1) * per_beat]
            )
            last = int(k == n_beats - 1)
            beats.append({"data": int.from_bytes(bits, "little"), "last": last})
        if fills:
            data += [[0] * 4] * ((most - tokens) * d_tiles)
        for k, row in enumerate(data):
            item = {"row": row, "last": int(k % d_tiles == d_tiles - 1)}
            rows.append({"to": to, "item": item})
    return frames, beats, rows


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("data_width", [32, 128])
@pytest.mark.parametrize(("d_tiles", "pace"), [(1, 1.0), (2, 0.5), (3, 1.0), (4, 0.4)])
def test_rows(fills, data_width, d_tiles, pace):
    rng = random.Random(d_tiles)
    dut = Framed(d_tiles=d_tiles, fills=fills, data_width=data_width)
    frames, beats, rows = fetches(rng, 40, d_tiles, data_width // 32, fills)
    log = simulate(
        dut,
        inputs={
            "i": [to_bits(dut.i.payload.shape(), frame) for frame in frames],
            "beat": [to_bits(dut.beat.payload.shape(), beat) for beat in beats],
        },
        outputs=["o"],
        cycles=20_000,
        idle=50,
        pace=dict.fromkeys(["i", "beat", "o"], pace),
        seed=d_tiles,
    )
    assert [from_bits(dut.o.payload.shape(), bits) for bits in log["o"].items] == rows
    assert len(log["beat"].items) == len(beats)
    if pace == 1.0:
        assert log["o"].cycles == list(range(2, len(rows) + 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_width": 48}, r"^Data width must be a multiple of a row's 32 bits, not 48$"),
        ({"tokens": 0}, r"^Tokens must be a positive integer, not 0$"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Framer(**{**Framed(d_tiles=1, fills=True)._inner, **changes})


def test_emits():
    emit(Framed(d_tiles=2, fills=True), verilog=True)
