import pytest

from qkloom.rtl.lane.numerics import Numerics

SHAPE = dict(size=16, head_dim=64, tokens=4096)


@pytest.mark.parametrize(
    ("p_width", "digits", "base", "is_signed", "p_max"),
    [
        (7, 1, 128, False, 127),
        (8, 1, 256, False, 255),
        (9, 2, 32, True, 511),
        (10, 2, 32, True, 1023),
        (13, 2, 128, True, 8191),
        (14, 2, 128, True, 127 * 128 + 63),
        (15, 2, 256, True, 127 * 256 + 127),
        (16, 2, 256, False, 65535),
    ],
)
def test_digits(p_width, digits, base, is_signed, p_max):
    n = Numerics(**SHAPE, p_width=p_width)
    assert (n.digits, n.digit_base, n.digit_is_signed, n.p_max) == (digits, base, is_signed, p_max)


@pytest.mark.parametrize(
    ("p_width", "digits", "base", "is_signed", "p_max"),
    [
        (4, 1, 16, False, 15),
        (5, 2, 8, True, 31),
        (6, 2, 8, True, 7 * 8 + 3),
        (7, 2, 16, True, 7 * 16 + 7),
        (8, 2, 16, False, 255),
    ],
)
def test_digits_of_4_bits(p_width, digits, base, is_signed, p_max):
    n = Numerics(**SHAPE, p_width=p_width, stream_width=4)
    assert (n.digits, n.digit_base, n.digit_is_signed, n.p_max) == (digits, base, is_signed, p_max)


@pytest.mark.parametrize("stream_width", [4, 8])
def test_digits_fit_their_planes(stream_width):
    for p_width in Numerics.p_widths(stream_width):
        n = Numerics(**SHAPE, p_width=p_width, stream_width=stream_width)
        if n.digits == 1:
            low, high = 0, n.p_max
        elif n.digit_is_signed:
            low, high = -n.digit_base // 2, (n.p_max + n.digit_base // 2) // n.digit_base
        else:
            low, high = 0, n.digit_base - 1
        planes, sign = n.digit_planes, int(n.digit_is_signed)
        assert planes <= stream_width
        assert -(sign << planes - 1) <= low
        assert high < 1 << planes - sign
        assert 2 * low < -(sign << planes - 1) or 2 * high >= (1 << planes - sign) - 1


def test_widths_of_4_bit_operands():
    n = Numerics(**SHAPE, p_width=14, stationary_width=4)
    assert (n.score_width, n.sum_width, n.acc_width) == (18, 31, 34)
    n = Numerics(**SHAPE, p_width=6, stream_width=4)
    assert (n.score_width, n.sum_width, n.acc_width) == (18, 23, 30)


def test_widths():
    n = Numerics(**SHAPE, p_width=14, segments=16, fraction=10)
    assert (n.score_width, n.x_width, n.x_max) == (22, 26, 32767 << 10)
    assert (n.sum_width, n.acc_width, n.out_width) == (31, 38, 24)
    assert (n.segment_bits, n.rem_width, n.table_width, n.n_max) == (4, 6, 16, 15)
    assert (n.max_init, n.rescale_max) == (-32768, 63)
    assert Numerics(size=1, head_dim=3, tokens=1).score_width == 18


def test_table():
    for p_width in range(7, 17):
        for segments in (4, 8, 16, 32, 64):
            n = Numerics(**SHAPE, p_width=p_width, segments=segments)
            assert len(n.table) == segments
            for base, slope in n.table:
                assert 0 < slope <= base <= n.p_max << n.guard < 1 << n.table_width
    assert n.rem_width == 4
    assert Numerics(**SHAPE, segments=64, fraction=6).rem_width == 0


def test_is_a_value():
    assert Numerics(**SHAPE) == Numerics(**SHAPE)
    assert len({Numerics(**SHAPE), Numerics(**SHAPE), Numerics(**SHAPE, p_width=8)}) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, r"^Size must be a positive integer, not 0$"),
        ({"head_dim": 40}, r"^Head_dim must be a multiple of size 16 up to 1024, not 40$"),
        ({"head_dim": 2048}, r"^Head_dim must be a multiple of size 16 up to 1024, not 2048$"),
        ({"tokens": 0}, r"^Tokens must be 1 to 16777216, not 0$"),
        ({"p_width": 6}, r"^P_width must be 7 to 16 when stream_width is 8, not 6$"),
        ({"p_width": 17}, r"^P_width must be 7 to 16 when stream_width is 8, not 17$"),
        (
            {"p_width": 3, "stream_width": 4},
            r"^P_width must be 4 to 8 when stream_width is 4, not 3$",
        ),
        ({"stream_width": 5}, r"^Stream_width must be 4 or 8, not 5$"),
        ({"stationary_width": 16}, r"^Stationary_width must be 4 or 8, not 16$"),
        ({"segments": 12}, r"^Segments must be a power of two from 4 to 64, not 12$"),
        ({"fraction": 5}, r"^Fraction must be 6 to 12, not 5$"),
    ],
)
def test_wrong_value(change, message):
    with pytest.raises(ValueError, match=message):
        Numerics(**SHAPE | change)


@pytest.mark.parametrize("value", [8.0, "8", None, True])
def test_wrong_type(value):
    with pytest.raises(TypeError, match=rf"^P_width must be an integer, not {value!r}$"):
        Numerics(**SHAPE, p_width=value)
