import pytest
from amaranth.hdl import Signal

from qkloom.rtl.lane.place import chunk_layout, row_address, row_layout


@pytest.mark.parametrize(
    ("block_rows", "slots", "width"), [(1, 1, 0), (2, 1, 1), (1, 2, 1), (5, 3, 5), (8, 2, 4)]
)
def test_an_address_has_the_bits_it_needs(block_rows, slots, width):
    for layout in (row_layout, chunk_layout):
        place = Signal(layout(block_rows=block_rows, slots=slots))
        assert len(row_address(place, block_rows=block_rows, slots=slots)) == width


def test_fields():
    assert list(row_layout(block_rows=4, slots=2).members) == ["slot", "row"]
    names = ["slot", "row", "begin", "end", "first", "last"]
    assert list(chunk_layout(block_rows=4, slots=2).members) == names
