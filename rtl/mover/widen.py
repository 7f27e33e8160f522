"""Several beats become a wide one."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.command import beat_layout
from ..check import check_count
from ..component import Component
from ..stream import RegisterSlice, WideSlice, connect_stream

__all__ = ["Widen"]


class Widen(Component):
    """Join ``n`` beats, the first one in the low bits; ``last`` is that of the last of them.

    Latency 1, rate one beat a cycle. ``o`` comes from registers, and no path crosses.

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
        """Keep all but the last beat; the last one takes them along into a register slice."""
        m = Module()
        i, n, width = self.i, self._n, self._data_width
        shape = self.o.payload.shape()
        # Behind several beats there is time for a slice that takes an item every other cycle.
        joined = WideSlice(shape=shape) if n == 1 else RegisterSlice(shape=shape, mode="half")
        m.submodules.joined = joined
        connect_stream(m, joined.o, wiring.flipped(self.o))
        # Whose turn it is, one bit set. A part takes what is there while it is its turn, the beat
        # at last: registers enable it, and no gate.
        turn = Signal(n, init=1)
        parts = [Signal(width, name=f"part_{k}", reset_less=True) for k in range(n - 1)]
        for k, part in enumerate(parts):
            with m.If(turn[k]):
                m.d.sync += part.eq(i.payload.data)
        m.d.comb += [
            joined.i.payload.data.eq(Cat(*parts, i.payload.data)),
            joined.i.payload.last.eq(i.payload.last),
            joined.i.valid.eq(i.valid & turn[-1]),
            i.ready.eq(joined.i.ready | ~turn[-1]),
        ]
        with m.If(i.valid & i.ready):
            m.d.sync += turn.eq(turn.rotate_left(1))
        return m
