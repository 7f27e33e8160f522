"""What attention reads of a selection: masks for memory, and lists."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..stream import Fork, RegisterSlice, connect_stream
from .list import list_layout
from .mask import SelectionMask, selection_call, taken_layout
from .scan import MaskScanner, word_layout

__all__ = ["SelectionLists"]


class SelectionLists(Component):
    """Tell which KV blocks each query block of a head needs, as masks and as lists.

    ::

        i --> mask --> fork --+--> slice --> masks
                              +--> scanner --> slice --> lists

    A word a cycle, or an item of a list; neither output gets more than a few words ahead of the
    other. Outputs come from registers.

    Parameters
    ----------
    blocks, word_width : int
        As of :class:`~qkloom.rtl.index.mask.SelectionMask`.

    Members
    -------
    call, i : In(stream)
        As of the mask.
    masks : Out(stream)
        Rows of words, as a sparse call reads them from memory: bit b of a row is KV block b. There,
        rows are a power of two of bytes apart, and what lies behind their words is not read.
    lists : Out(stream)
        For each row its blocks, ascending, and the end: :func:`~qkloom.rtl.index.list.list_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or the width no power of two of at least 4.
    """

    def __init__(self, *, blocks: int, word_width: int = 32) -> None:
        super().__init__(
            {
                "call": In(stream.Signature(selection_call(blocks))),
                "i": In(stream.Signature(taken_layout())),
                "masks": Out(stream.Signature(word_layout(word_width))),
                "lists": Out(stream.Signature(list_layout(blocks))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts."""
        m = Module()
        m.submodules.mask = mask = SelectionMask(**self.parameters)
        m.submodules.fork = fork = Fork(shape=mask.o.payload.shape(), n=2)
        m.submodules.scanner = scanner = MaskScanner(**self.parameters)
        connect_stream(m, wiring.flipped(self.call), mask.call)
        connect_stream(m, wiring.flipped(self.i), mask.i)
        connect_stream(m, mask.o, fork.i)
        m.submodules.words = words = RegisterSlice(shape=mask.o.payload.shape())
        connect_stream(m, fork.o[0], words.i)
        connect_stream(m, words.o, wiring.flipped(self.masks))
        connect_stream(m, fork.o[1], scanner.i)
        items = scanner.o.payload.shape()
        m.submodules.items = late = RegisterSlice(shape=items, mode="forward")
        connect_stream(m, scanner.o, late.i)
        connect_stream(m, late.o, wiring.flipped(self.lists))
        return m
