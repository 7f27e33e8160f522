import pytest

from qkloom.rtl.axi import AXI4, AXI4Lite, AXI4Read, AXI4Stream, AXI4Write


class TestSignatures:
    def test_equality(self):
        assert AXI4(data_width=256) == AXI4(data_width=256)
        assert AXI4(data_width=256) != AXI4(data_width=512)
        assert AXI4Read(data_width=256) != AXI4Write(data_width=256)
        assert hash(AXI4(data_width=256)) == hash(AXI4(data_width=256))
        assert repr(AXI4(data_width=64)) == "AXI4(address_width=64, data_width=64, id_width=1)"

    def test_channels(self):
        bus = AXI4(address_width=40, data_width=256, id_width=2).create()
        assert bus.aw.payload.shape() == bus.ar.payload.shape()
        assert len(bus.aw.payload.addr) == 40
        assert len(bus.w.payload.strb) == 32
        assert len(bus.r.payload.id) == len(bus.b.payload.id) == 2
        assert (bus.signature.beat_bytes, bus.signature.beat_bits) == (32, 5)

    def test_stream(self):
        beat = AXI4Stream(data_width=24).create().t.payload
        assert len(beat.keep) == 3

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: AXI4(data_width=96),
                r"^Data width must be a power of two .* not 96$",
            ),
            (lambda: AXI4(data_width=64, address_width=65), r"^Address width must be .*65"),
            (lambda: AXI4(data_width=64, id_width=0), r"^ID width must be .*0"),
            (
                lambda: AXI4Lite(address_width=12, data_width=128),
                r"^Data width must be 32 or 64, .*128$",
            ),
            (lambda: AXI4Stream(data_width=12), r"^Data width must be a multiple of 8, not 12$"),
        ],
    )
    def test_errors(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
