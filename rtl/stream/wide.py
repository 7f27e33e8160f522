"""Wide slice: a register slice without a gate that hundreds of registers wait for."""

from typing import Any

from amaranth.hdl import Module, Shape, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from .slice import RegisterSlice

__all__ = ["GROUP", "WideSlice"]

GROUP = 96
"""Most bits that share an enable."""


class WideSlice(Component):
    """A register slice of mode ``full`` for wide payloads, in groups of at most :data:`GROUP` bits.

    Each group is a :class:`~qkloom.rtl.stream.slice.RegisterSlice` of its own. All of them do the
    same at the same time; but the gate that lets a payload in is there once for each, and so no
    net behind logic has more pins than a group has bits. They are modules of their own, for a
    synthesis tool that looks at one at a time to keep them apart.

    Latency 1, rate 1; valid, payload and ready are cut. It costs two payload registers, and two
    bits for each group.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.

    Members
    -------
    i : stream, in
        Items in.
    o : stream, out
        The same items in the same order.
    """

    def __init__(self, *, shape: Any) -> None:
        self._width = Shape.cast(shape).width
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        """Cut the payload into groups of about the same width."""
        m = Module()
        n = max(-(-self._width // GROUP), 1)
        per_group = -(-self._width // n)
        src, dst = Value.cast(self.i.payload), Value.cast(self.o.payload)
        for k in range(n):
            begin, end = k * per_group, min((k + 1) * per_group, self._width)
            m.submodules[f"group_{k}"] = group = RegisterSlice(shape=end - begin)
            m.d.comb += [
                group.i.payload.eq(src[begin:end]),
                group.i.valid.eq(self.i.valid),
                group.o.ready.eq(self.o.ready),
                dst[begin:end].eq(group.o.payload),
            ]
            if k == 0:
                m.d.comb += [self.i.ready.eq(group.i.ready), self.o.valid.eq(group.o.valid)]
        return m
