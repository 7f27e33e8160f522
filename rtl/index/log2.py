"""Binary logarithms of integers: the highest 1, and a line per segment behind it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.pipeline import delayed
from ..product import Product
from .numerics import IndexNumerics, log_table

__all__ = ["Log2"]

_FRACTION = IndexNumerics.log_fraction
_SEGMENT_BITS = ceil_log2(IndexNumerics.log_segments)
_REST = 10
"""Bits behind the segment that a line goes by."""


class Log2(Component):
    """Logarithm of an integer, one a cycle; its error is below 1.1 in the last place.

    ::

        i --> highest 1 to the top --+--> table --> base + slope * rest --+
                                     +--> how far it was ----------------(+)--> o

    Parameters
    ----------
    width : int
        Bits of the integer, unsigned; 19 to 31.

    Members
    -------
    i : In(width)
        The integer; 0 counts as 1.
    o : Out
        Its logarithm, ``log_fraction`` bits of it fraction; ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        When the width is out of range.
    """

    def __init__(self, *, width: int) -> None:
        if check_count("Width", width, most=31) <= _SEGMENT_BITS + _REST:
            raise ValueError(f"Width must be at least {_SEGMENT_BITS + _REST + 1}, not {width}")
        self._width, self._levels = width, ceil_log2(width)
        super().__init__({"i": In(width), "o": Out(self._levels + _FRACTION)})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return 1 + self._levels + 2 + Product.latency + 2

    def elaborate(self, platform: object) -> Module:
        """Align, look up, multiply, add."""
        m = Module()
        width = self._width
        is_zero = Signal()
        value = Signal(width, name="aligned", reset_less=True)
        m.d.comb += is_zero.eq(~self.i.any())
        m.d.sync += value.eq(Cat(self.i[0] | is_zero, self.i[1:]))
        distance: Signal | Const = Const(0, 0)
        for level in reversed(range(self._levels)):
            size = 1 << level
            moves = Signal(name=f"moves_{level}")
            moved = Signal(width, name=f"aligned_{level}", reset_less=True)
            so_far = Signal(len(distance) + 1, name=f"distance_{level}", reset_less=True)
            m.d.comb += moves.eq(value[-size:] == 0)
            m.d.sync += [
                moved.eq(Mux(moves, value << size, value)[:width]),
                so_far.eq(Cat(moves, distance)),
            ]
            value, distance = moved, so_far
        exponent = Signal(self._levels, reset_less=True)
        m.d.sync += exponent.eq(width - 1 - distance)

        # The rounding of the result is in the base already.
        rows = [
            {"base": base + 2, "slope": slope}
            for base, slope in log_table(_FRACTION, IndexNumerics.log_segments)
        ]
        line = data.StructLayout(
            {name: max(row[name] for row in rows).bit_length() for name in ("base", "slope")}
        )
        m.submodules.table = table = Memory(shape=line, depth=len(rows), init=rows)
        r_port = table.read_port()
        looked_up = Signal(line, reset_less=True)
        rest = Signal(_REST, reset_less=True)
        late_rest = Signal(_REST, reset_less=True)
        segment_low = width - 1 - _SEGMENT_BITS
        m.d.comb += r_port.addr.eq(value[segment_low : width - 1])
        m.d.sync += [
            looked_up.eq(r_port.data),
            rest.eq(value[segment_low - _REST : segment_low]),
            late_rest.eq(rest),
        ]
        m.submodules.product = product = Product(
            a=Integer(len(looked_up.slope), is_signed=False), b=Integer(_REST, is_signed=False)
        )
        m.d.comb += [product.i_a.eq(looked_up.slope), product.i_b.eq(late_rest)]
        base = delayed(m, looked_up.base, Product.latency, name="base")
        high = delayed(m, exponent, Product.latency + 2, name="exponent")
        on_line = Signal(_FRACTION + 4, reset_less=True)
        m.d.sync += [
            on_line.eq(base + product.o[_REST:].as_unsigned()),
            self.o.eq((Cat(Const(0, _FRACTION + 2), high) + on_line)[2:]),
        ]
        return m
