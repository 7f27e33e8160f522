"""Register slice: a stream broken into two timing paths."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..component import Component

__all__ = ["RegisterSlice"]


class RegisterSlice(Component):
    """Registers that cut the combinational paths of a stream.

    ===========  =====================  =======  =====  =================
    Mode         Paths cut              Latency  Rate   Payload registers
    ===========  =====================  =======  =====  =================
    ``full``     valid, payload, ready  1        1      2
    ``forward``  valid, payload         1        1      1
    ``reverse``  ready                  0        1      1
    ``half``     valid, payload, ready  1        1/2    1
    ===========  =====================  =======  =====  =================

    A cut output comes straight from a register. Latency is in cycles, from the transfer at ``i`` to
    ``o.valid``; rate in transfers per cycle.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.
    mode : str
        What to cut, see the table.

    Members
    -------
    i : stream, in
        Items in.
    o : stream, out
        The same items in the same order.

    Raises
    ------
    ValueError
        When ``mode`` is not in the table.
    """

    modes = ("full", "forward", "reverse", "half")

    def __init__(self, *, shape: Any, mode: str = "full") -> None:
        if mode not in self.modes:
            raise ValueError(f"Mode must be one of {', '.join(self.modes)}, not {mode!r}")
        self._shape, self._mode = shape, mode
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        """Build the registers of the mode."""
        m = Module()
        i, o = self.i, self.o
        stored = Signal(self._shape, reset_less=True)
        occupied = Signal()

        if self._mode in ("forward", "half"):
            m.d.comb += [o.payload.eq(stored), o.valid.eq(occupied)]
            m.d.comb += i.ready.eq(~occupied | o.ready if self._mode == "forward" else ~occupied)
            with m.If(i.ready):
                # Nobody looks at a payload without valid: no gate for it at the wide register.
                m.d.sync += stored.eq(i.payload)
            with m.If(i.valid & i.ready):
                m.d.sync += occupied.eq(1)
            with m.Elif(o.ready):
                m.d.sync += occupied.eq(0)
            return m

        # What the other side of the slice was not ready for waits in `stored`.
        m.d.comb += i.ready.eq(~occupied)
        with m.If(i.ready):
            m.d.sync += stored.eq(i.payload)

        if self._mode == "reverse":
            m.d.comb += [
                o.payload.eq(Mux(occupied, stored, i.payload)),
                o.valid.eq(occupied | i.valid),
            ]
            m.d.sync += occupied.eq(o.valid & ~o.ready)
        else:
            head = Signal(self._shape, reset_less=True)
            valid = Signal()
            m.d.comb += [o.payload.eq(head), o.valid.eq(valid)]
            with m.If(o.ready | ~valid):
                m.d.sync += [
                    head.eq(Mux(occupied, stored, i.payload)),
                    valid.eq(occupied | i.valid),
                    occupied.eq(0),
                ]
            with m.Elif(i.valid):
                m.d.sync += occupied.eq(1)
        return m
