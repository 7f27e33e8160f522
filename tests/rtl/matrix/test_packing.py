from itertools import product

import pytest

from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.matrix.packing import LONGEST, Packing

FORMATS = [I8, I4, U8, Integer(6), Integer(4, is_signed=False), Integer(16), Integer(1)]
PACKINGS = [Packing(*x) for x in product(FORMATS, FORMATS, (False, True))]


def operands(packing):
    """Extreme streaming operands."""
    if packing.mixed_signs:
        return -(1 << packing.stream.width - 1), (1 << packing.stream.width) - 1
    return packing.stream.min_raw, packing.stream.max_raw


class TestPacking:
    @pytest.mark.parametrize(
        ("stream", "stationary", "mixed", "fields", "width", "rows"),
        [
            (I8, I8, False, 2, 18, 8),
            (I8, I8, True, 2, 18, 4),
            (I8, I4, False, 2, 19, 16),
            (I4, I8, False, 2, 17, 16),
            (I4, I8, True, 2, 17, 16),
            (I4, I4, False, 3, 11, 16),
            (I4, I4, True, 3, 11, 9),
            (U8, U8, False, 2, 18, 4),
            (I8, U8, True, 2, 18, 2),
            (Integer(16), I8, False, 1, 46, 16),
        ],
    )
    def test_layout(self, stream, stationary, mixed, fields, width, rows):
        packing = Packing(stream, stationary, mixed)
        assert (packing.n_fields, packing.field_width, packing.rows) == (fields, width, rows)

    @pytest.mark.parametrize("packing", PACKINGS, ids=str)
    def test_fits(self, packing):
        ends = packing.stationary.min_raw, packing.stationary.max_raw
        distance = packing.field_width
        for elements in product(ends, repeat=packing.n_fields):
            word = sum(w << k * distance for k, w in enumerate(elements))
            assert -(1 << 26) <= word < 1 << 26
            # What arrives at D are unsigned numbers side by side.
            places = [w + packing.offset for w in elements]
            assert all(0 <= place < 1 << min(distance, 27) for place in places)
            together = sum(place << k * distance for k, place in enumerate(places))
            assert together < 1 << 27
            assert together - packing.offsets == word
        assert packing.operand_width + packing.shift == 18
        assert packing.shift + packing.n_fields * distance <= 48

    @pytest.mark.parametrize("packing", PACKINGS, ids=str)
    def test_sums(self, packing):
        ends = packing.stationary.min_raw, packing.stationary.max_raw
        products = [x * w for x, w in product(operands(packing), ends)]
        assert (packing.least, packing.most) == (min(products), max(products))
        for rows in {1, packing.rows}:
            bias = packing.bias(rows)
            assert rows * packing.least + bias == 0
            assert rows * packing.most + bias < 1 << packing.field_width
            biases = sum(bias << k * packing.field_width for k in range(packing.n_fields))
            assert packing.biases(rows) == biases
        # One product more would not fit.
        if packing.rows < LONGEST:
            span = packing.most - packing.least
            assert (packing.rows + 1) * span >= 1 << packing.field_width

    def test_fields_come_apart(self):
        # Every combination of extreme products, summed in one number and split by wires alone.
        packing = Packing(I8, I8, False)
        ends = (-128, 127)
        for b, w0, w1 in product(ends, repeat=3):
            word = w0 + (w1 << 18)
            p = (packing.biases(8) + 8 * b * word) << packing.shift
            assert 0 <= p < 1 << 48
            fields = p >> 10 & (1 << 18) - 1, p >> 28 & (1 << 18) - 1
            assert [field - packing.bias(8) for field in fields] == [8 * b * w0, 8 * b * w1]

    @pytest.mark.parametrize(
        ("stream", "stationary", "mixed", "message"),
        [
            (I8, Integer(27), False, "Stationary operand of a DSP must have at most 26 bits"),
            (Integer(19), I8, False, "Streaming operand of a DSP must have at most 18 bits"),
            (Integer(18), I8, True, "Streaming operand of a DSP must have at most 17 bits"),
        ],
    )
    def test_errors(self, stream, stationary, mixed, message):
        wrong = max(stream, stationary, key=lambda x: x.width)
        with pytest.raises(ValueError, match=f"^{message}, not {wrong}$"):
            Packing(stream, stationary, mixed)
