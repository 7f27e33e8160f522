"""Lists of blocks as payloads, and back."""

from qkloom.rtl.index.list import list_layout
from qkloom.tb.index.forecast_exact import pack_lists
from qkloom.tb.simulate import from_bits, to_bits

__all__ = ["items_of", "lists_of"]


def items_of(lists, blocks):
    """Return the payloads of lists."""
    return [to_bits(list_layout(blocks), item) for item in pack_lists(lists)]


def lists_of(items, blocks):
    """Return the lists that payloads are; the last one must have ended."""
    lists = [[]]
    for item in items:
        fields = from_bits(list_layout(blocks), item)
        if fields["end"]:
            assert not fields["block"]  # an end carries no block
            lists.append([])
        else:
            lists[-1].append(fields["block"])
    assert not lists.pop()
    return lists
