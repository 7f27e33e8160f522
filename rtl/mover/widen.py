"""Several beats become a wide one."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..axi.command import beat_layout
from ..check import check_count
from ..component import Component

__all__ = ["Widen"]


class Widen(Component):
    """Join ``n`` beats, the first one in the low bits; ``last`` is that of the last of them.

    Latency 1, rate one beat a cycle. ``o`` comes from registers, ``i.ready`` from ``o.ready``.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    n : int
        Beats to join.

    Members
    -------
    i, o : stream
        Narrow beats in, wide ones out: :func:`~qkloom.rtl.axi.command.beat_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, data_width: int, n: int) -> None:
        check_count("Data width", data_width)
        check_count("Number of beats", n)
        self._data_width, self._n = data_width, n
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(data_width=data_width))),
                "o": Out(stream.Signature(beat_layout(data_width=data_width * n))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Shift beats in from above."""
        m = Module()
        i, o = self.i, self.o
        shifted = Signal(self._data_width * self._n, reset_less=True)
        count = Signal(range(self._n))
        full = Signal()
        last = Signal(reset_less=True)
        m.d.comb += [
            o.payload.data.eq(shifted),
            o.payload.last.eq(last),
            o.valid.eq(full),
            i.ready.eq(o.ready | ~full),
        ]
        with m.If(o.ready):
            m.d.sync += full.eq(0)
        with m.If(i.valid & i.ready):
            m.d.sync += [
                shifted.eq(Cat(shifted[self._data_width :], i.payload.data)),
                last.eq(i.payload.last),
                count.eq(count + 1),
            ]
            with m.If(count == self._n - 1):
                m.d.sync += [count.eq(0), full.eq(1)]
        return m
