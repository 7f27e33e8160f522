"""Feed: what a ROM holds, as an endless stream."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from ...rtl.component import Component

__all__ = ["Feed", "check_words"]


def check_words(words: tuple[int, ...], shape: Any) -> None:
    """Refuse contents of a ROM that are none, or do not fit.

    Raises
    ------
    ValueError
        When there is no word, or one has other bits than ``shape``.
    """
    width = Shape.cast(shape).width
    if not words:
        raise ValueError(f"Words must be one or more, not {words!r}")
    for word in words:
        if not 0 <= word < 1 << width:
            raise ValueError(f"Words must have {width} bits, unlike {word!r}")


class Feed(Component):
    """Offer the words of a ROM one after the other, and begin anew after the last.

    Latency 1 after reset, rate 1. The output comes from the register of the ROM; nothing but its
    clock enable depends on ``o.ready``.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.
    words : tuple of int
        Bits of each payload.

    Members
    -------
    o : stream, out
        The payloads, without end.

    Raises
    ------
    ValueError
        When there is no word, or one has too many bits.
    """

    def __init__(self, *, shape: Any, words: tuple[int, ...]) -> None:
        check_words(words, shape)
        self._shape, self._words = shape, words
        super().__init__({"o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        """Read ahead: the register of the read port holds what is offered."""
        m = Module()
        n = len(self._words)
        width = Shape.cast(self._shape).width
        m.submodules.rom = rom = Memory(shape=width, depth=n, init=self._words)
        r_port = rom.read_port()
        index = Signal(range(n))
        filled = Signal()
        fetch = Signal()
        m.d.comb += [
            fetch.eq(self.o.ready | ~filled),
            r_port.en.eq(fetch),
            r_port.addr.eq(index),
            self.o.valid.eq(filled),
            self.o.payload.eq(r_port.data),
        ]
        with m.If(fetch):
            m.d.sync += [filled.eq(1), index.eq(Mux(index == n - 1, 0, index + 1))]
        return m
