"""Join: one item of each of several streams becomes one struct."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..component import Component

__all__ = ["Join"]


class Join(Component):
    """Wait for an item of every input stream, and pass them on together as one struct.

    Latency 0, rate 1, no registers. Nothing is cut: ``o.valid`` comes from every input's valid, and
    each input's ready from ``o.ready`` and the valid of every input.

    Parameters
    ----------
    shape : :class:`amaranth.lib.data.StructLayout`
        Shape of the struct: a field ``x`` makes an input ``i_x``.

    Members
    -------
    i_x : stream, in
        Values of the field ``x``.
    o : stream of struct, out
        The n-th item of every input, as the n-th struct.

    Raises
    ------
    TypeError
        When ``shape`` is not a struct.
    ValueError
        When it has no field.
    """

    def __init__(self, *, shape: Any) -> None:
        if not isinstance(shape, data.StructLayout):
            raise TypeError(f"Shape must be a StructLayout, not {shape!r}")
        if not shape.members:
            raise ValueError(f"Shape must have a field, unlike {shape!r}")
        self._fields = tuple(shape.members)
        members = {f"i_{name}": In(stream.Signature(s)) for name, s in shape.members.items()}
        super().__init__({**members, "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        """Transfer all inputs in the cycle in which the struct transfers."""
        m = Module()
        o = self.o
        inputs = {name: getattr(self, f"i_{name}") for name in self._fields}
        m.d.comb += o.valid.eq(Cat(i.valid for i in inputs.values()).all())
        for name, i in inputs.items():
            m.d.comb += [o.payload[name].eq(i.payload), i.ready.eq(o.valid & o.ready)]
        return m
