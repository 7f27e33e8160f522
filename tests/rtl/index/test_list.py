import re

import pytest

from qkloom.rtl.index.list import list_layout


@pytest.mark.parametrize(("blocks", "bits"), [(1, 1), (2, 1), (3, 2), (8192, 13)])
def test_layout(blocks, bits):
    layout = list_layout(blocks)
    assert {name: field.width for name, field in layout} == {"block": bits, "end": 1}


@pytest.mark.parametrize(("blocks", "error"), [(0, ValueError), ("4", TypeError)])
def test_wrong_count(blocks, error):
    message = re.escape(f"Blocks must be a positive integer, not {blocks!r}")
    with pytest.raises(error, match=f"^{message}$"):
        list_layout(blocks)
