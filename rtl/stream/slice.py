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
        # Nobody looks at a payload without valid: no gate for it at the wide register.
        with m.If(i.ready):
            m.d.sync += stored.eq(i.payload)

        if self._mode == "forward":
            occupied = Signal()
            m.d.comb += [
                o.payload.eq(stored),
                o.valid.eq(occupied),
                i.ready.eq(~occupied | o.ready),
            ]
            with m.If(i.ready):
                m.d.sync += occupied.eq(i.valid)
            return m

        # A register, and not the inverse of one: a LUT less on all paths to the sender.
        is_free = Signal(init=1)
        m.d.comb += i.ready.eq(is_free)
        if self._mode == "half":
            occupied = Signal()
            m.d.comb += [o.payload.eq(stored), o.valid.eq(occupied)]
            with m.If(Mux(occupied, o.ready, i.valid)):
                m.d.sync += [occupied.eq(~occupied), is_free.eq(occupied)]
        elif self._mode == "reverse":
            # What the other side of the slice was not ready for waits in `stored`.
            m.d.comb += [
                o.payload.eq(Mux(is_free, i.payload, stored)),
                o.valid.eq(~is_free | i.valid),
            ]
            m.d.sync += is_free.eq(~o.valid | o.ready)
        else:
            head = Signal(self._shape, reset_less=True)
            valid = Signal()
            m.d.comb += [o.payload.eq(head), o.valid.eq(valid)]
            with m.If(o.ready | ~valid):
                m.d.sync += [
                    head.eq(Mux(is_free, i.payload, stored)),
                    valid.eq(~is_free | i.valid),
                    is_free.eq(1),
                ]
            with m.Elif(i.valid):
                m.d.sync += is_free.eq(0)
        return m
