import numpy as np
import pytest
from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.rtl.formats import I8, Fixed, Integer
from qkloom.tb.packing import fields_of, n_words, pack, to_words, unpack

JOB = data.StructLayout(
    {
        "first": 1,
        "rows": data.ArrayLayout(I8, 5),
        "to": data.StructLayout({"lane": 3, "diagonal": signed(33)}),
        "grid": data.ArrayLayout(data.ArrayLayout(signed(5), 3), 2),
    }
)


def as_bits(shape, value):
    """Return the bits that Amaranth gives a payload."""
    return Shape.cast(shape), data.Layout.cast(shape).const(value).as_value().value


class TestPack:
    def test_bits_are_those_of_amaranth(self):
        value = {
            "first": 1,
            "rows": [-128, 127, 0, -1, 5],
            "to": {"lane": 5, "diagonal": -(1 << 32)},
            "grid": [[-16, 15, 0], [1, -1, 7]],
        }
        _, bits = as_bits(JOB, value)
        words = pack(
            JOB, **{key: np.array([v]) if key == "rows" else v for key, v in value.items()}
        )
        assert words.dtype == np.uint32
        assert words.shape == (1, n_words(Shape.cast(JOB).width))
        assert int.from_bytes(words.tobytes(), "little") == bits

    def test_what_is_equal_in_all_payloads_is_given_once(self):
        words = pack(
            JOB,
            first=[1, 0],
            rows=[1, 2, 3, 4, 5],
            to={"lane": [1, 2], "diagonal": -4},
            grid=np.zeros((2, 3), int),
        )
        found = unpack(JOB, words)
        assert found["first"].tolist() == [1, 0]
        assert found["rows"].tolist() == [[1, 2, 3, 4, 5]] * 2
        assert found["to"]["lane"].tolist() == [1, 2]
        assert found["to"]["diagonal"].tolist() == [-4, -4]

    def test_payload_without_names(self):
        rows = np.arange(-6, 6).reshape(3, 4)
        words = pack(data.ArrayLayout(I8, 4), rows)
        assert np.array_equal(unpack(data.ArrayLayout(I8, 4), words), rows)
        assert unpack(signed(9), pack(signed(9), [-256, 255])).tolist() == [-256, 255]

    def test_struct_class_and_number_formats(self):
        class Item(data.Struct):
            x: Fixed(8, 16)
            done: 1

        words = pack(Item, x=[-(1 << 23), 5], done=[True, False])
        assert unpack(Item, words)["x"].tolist() == [-(1 << 23), 5]

    def test_numbers_wider_than_a_register(self):
        layout = data.StructLayout({"pad": 7, "x": signed(100), "y": unsigned(64)})
        x, y = [-(1 << 99), (1 << 99) - 1, -1], [0, (1 << 64) - 1, 1 << 63]
        found = unpack(layout, pack(layout, pad=0, x=x, y=np.array(y, np.uint64)))
        assert found["x"].tolist() == x
        assert found["y"].tolist() == y

    def test_payload_without_bits(self):
        assert pack(unsigned(0), [0, 0, 0]).shape == (3, 0)

    @pytest.mark.parametrize("width", [5, 8, 16])
    @pytest.mark.parametrize("dims", [(), (3,), (2, 3), (2, 0)])
    @pytest.mark.parametrize("n", [0, 2])
    def test_no_payloads_or_elements(self, n, dims, width):
        shape = signed(width)
        for length in reversed(dims):
            shape = data.ArrayLayout(shape, length)
        values = np.full((n, *dims), -3)
        words = pack(shape, values)
        assert words.shape == (n, n_words(Shape.cast(shape).width))
        assert unpack(shape, words).shape == values.shape
        assert (unpack(shape, words) == values).all()

    @pytest.mark.parametrize("array", [np.int8, np.int64, np.uint8, object])
    def test_any_kind_of_integers(self, array):
        assert unpack(unsigned(7), pack(unsigned(7), np.array([0, 127], array))).tolist() == [
            0,
            127,
        ]


class TestErrors:
    LAYOUT = data.StructLayout({"row": data.ArrayLayout(I8, 2), "last": 1})

    @pytest.mark.parametrize(
        ("fields", "error", "message"),
        [
            (
                {"row": [[1, 2]]},
                TypeError,
                r"^The payload lacks \['last'\]; its fields are \['last', 'row'\]$",
            ),
            ({"row": [[1, 2]], "last": 0, "x": 1}, TypeError, r"^The payload has no \['x'\]"),
            ({"row": [[1, 128]], "last": 0}, ValueError, "^row holds -128 to 127, not 128$"),
            ({"row": [[1, 2]], "last": -1}, ValueError, "^last holds 0 to 1, not -1$"),
            (
                {"row": [[1, 2, 3]], "last": 0},
                ValueError,
                r"^row must have the shape \(n, 2\) or \(2,\), not \(1, 3\)$",
            ),
            (
                {"row": [[1, 2]], "last": [0, 1]},
                ValueError,
                r"^Fields must have equally many payloads, not \[1, 2\]$",
            ),
            ({"row": [[1.5, 2]], "last": 0}, TypeError, "^row must be integers, not float64$"),
            ({"row": {"x": 1}, "last": 0}, TypeError, r"^row has no fields, so no \['x'\]$"),
        ],
    )
    def test_fields(self, fields, error, message):
        with pytest.raises(error, match=message):
            pack(self.LAYOUT, **fields)

    def test_array_for_a_struct(self):
        with pytest.raises(TypeError, match=r"^The payload has fields \['last', 'row'\]; give a"):
            pack(self.LAYOUT, [1, 2])

    def test_both_ways_at_once(self):
        with pytest.raises(TypeError, match=r"^Payloads are packed from one array or from named"):
            pack(self.LAYOUT, [1, 2], last=0)


class TestToWords:
    def test_integers(self):
        assert to_words([-1, 3], 4).tolist() == [[15], [3]]
        assert to_words([1 << 40], 41).tolist() == [[0, 1 << 8]]
        assert to_words([-1], 70).tolist() == [[0xFFFFFFFF, 0xFFFFFFFF, 0x3F]]
        assert to_words([], 41).shape == (0, 2)

    def test_words_stay(self):
        words = np.array([[1, 2], [3, 4]], np.uint32)
        assert np.array_equal(to_words(words, 40), words)

    @pytest.mark.parametrize(
        ("values", "width", "message"),
        [
            ([16], 4, "^payload holds -8 to 15, not 16$"),
            (np.zeros((1, 3), np.uint32), 64, "^A payload of 64 bits takes 2 words, not 3$"),
            (np.full((1, 1), 16, np.uint32), 4, "^Words of a payload must be 0 above its 4 bits$"),
            (np.zeros((1, 2, 3)), 4, r"^Payloads are integers or rows of uint32 words, not \(1,"),
        ],
    )
    def test_errors(self, values, width, message):
        with pytest.raises(ValueError, match=message):
            to_words(values, width)


def leaves():
    return st.builds(Shape, st.integers(1, 100), st.booleans())


shapes = st.recursive(
    leaves(),
    lambda inner: (
        st.builds(data.ArrayLayout, inner, st.integers(1, 4))
        | st.builds(data.StructLayout, st.dictionaries(st.sampled_from("abcd"), inner, min_size=1))
    ),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(shape=shapes, seed=st.integers(0, 99), n=st.integers(0, 3))
def test_round_trip(shape, seed, n):
    rng = np.random.default_rng(seed)
    given_fields = {}
    for field in fields_of(shape):
        low, high = field.bounds
        count = n * int(np.prod(field.dims))
        extremes = [
            low,
            high,
            *(int(x) % (high - low + 1) + low for x in rng.integers(0, 1 << 62, 9)),
        ]
        numbers = np.array([extremes[i] for i in rng.integers(0, 11, count)], object)
        given_fields[field.path] = numbers.reshape(n, *field.dims)
    if () in given_fields:
        words = pack(shape, given_fields[()])
    else:
        nested = {}
        for (*outer, last), array in given_fields.items():
            inner = nested
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[last] = array
        words = pack(shape, **nested)
    assert words.shape == (n, n_words(Shape.cast(shape).width))
    found = unpack(shape, words)
    for path, array in given_fields.items():
        got = found
        for name in path:
            got = got[name]
        assert got.tolist() == array.tolist()


def test_integers_for_machine_arrays():
    row = fields_of(data.ArrayLayout(Integer(16), 3))[0]
    assert row.byte_range == slice(0, 6)
    assert fields_of(data.ArrayLayout(Integer(12), 3))[0].byte_range is None
