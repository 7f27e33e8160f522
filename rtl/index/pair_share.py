"""Shares of pairs in the attention of their row, as codes."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed, shift_right, shift_stages
from ..product import Product
from .code import CodeEncoder, code_width
from .exp2 import Exp2Table
from .numerics import IndexNumerics

__all__ = ["PairShare"]

_RECIPROCAL = 17
_FACTOR = IndexNumerics.product_width
_PAIR = 30
"""Bits of the shares of all rows together, below the highest."""


class PairShare(Component):
    """Multiply the power of a score by its row's reciprocal; encode the share: one a cycle.

    ::

        maximum - x --> 2**-y --> * reciprocal --> shift --> code

    A share is in units of ``2**-(30 - ceil_log2(blocks))``, cut off: all together have less than
    ``2**31``.

    Parameters
    ----------
    blocks : int
        Most rows, and pairs of a row.
    fraction : int
        Fraction bits of a score, which has ``Numerics.max_width`` integer bits.
    exp_fraction : int
        Bits of a power below 1: 25 to 30.
    value_width, code_fraction : int
        Of codes, see :mod:`~qkloom.rtl.index.code`.

    Members
    -------
    i : In(stream)
        ``x``, and what :class:`~qkloom.rtl.index.row_sums.RowSums` has of its row: ``maximum``,
        ``e``, ``r``; ``last`` of a sweep. Always taken.
    o : Out(stream)
        ``code`` and ``last``, ``latency`` cycles later.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or out of range.
    """

    def __init__(
        self,
        *,
        blocks: int,
        fraction: int,
        exp_fraction: int = 28,
        value_width: int = 32,
        code_fraction: int = 11,
    ) -> None:
        check_count("Number of blocks", blocks)
        check_count("Fraction", fraction, most=12)
        check_count("Exp fraction", exp_fraction, most=30)
        if exp_fraction < _FACTOR - 1:
            raise ValueError(f"Exp fraction must be at least {_FACTOR - 1}, not {exp_fraction}")
        self._code = {"value_width": value_width, "fraction": code_fraction}
        code = code_width(**self._code)
        self._fraction, self._exp_fraction = fraction, exp_fraction
        bits = ceil_log2(blocks)
        # What every row shifts by at least: its sum is 1 or more.
        self._least = exp_fraction + _RECIPROCAL - (_PAIR - bits) - (exp_fraction + 1 - _FACTOR)
        self._share_width = _FACTOR + _RECIPROCAL - self._least
        if value_width < self._share_width:
            raise ValueError(f"Value width must be at least {self._share_width}, not {value_width}")
        x = signed(Numerics.max_width + fraction)
        pair = {
            "x": x,
            "maximum": x,
            "e": range(max(bits + 1, 2)),
            "r": _RECIPROCAL,
            "last": 1,
        }
        result = data.StructLayout({"code": code, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(pair), always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Difference, power, product, shift, code."""
        levels = max(1, ceil_log2(self._code["value_width"] - self._code["fraction"]))
        return self._to_product + Product.latency + shift_stages(len(self.i.payload.e)) + levels

    @property
    def _to_product(self) -> int:
        return 1 + Exp2Table.latency

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        pair = self.i.payload
        m.submodules.exp2 = exp2 = Exp2Table(
            fraction=self._fraction, exp_fraction=self._exp_fraction
        )
        y = Signal(len(exp2.i), reset_less=True)
        m.d.sync += y.eq(pair.maximum - pair.x)
        m.submodules.product = product = Product(
            a=Integer(_FACTOR, is_signed=False), b=Integer(_RECIPROCAL, is_signed=False)
        )
        m.d.comb += [
            exp2.i.eq(y),
            product.i_a.eq(exp2.o[-_FACTOR:]),
            product.i_b.eq(delayed(m, pair.r, self._to_product, name="r")),
        ]
        amount = delayed(m, pair.e, self._to_product + Product.latency, name="amount")
        most = _FACTOR + _RECIPROCAL
        (share,) = shift_right(m, [product.o[self._least : most]], amount, name="share")

        m.submodules.encoder = encoder = CodeEncoder(**self._code, tag=1)
        steps = self.latency - encoder.latency
        valids = Signal(steps)
        m.d.sync += valids.eq(Cat(self.i.valid, valids))
        m.d.comb += [
            encoder.i.valid.eq(valids[-1]),
            encoder.i.payload.value.eq(share),
            encoder.i.payload.tag.eq(delayed(m, pair.last, steps, name="last")),
            self.o.valid.eq(encoder.o.valid),
            self.o.payload.code.eq(encoder.o.payload.code),
            self.o.payload.last.eq(encoder.o.payload.tag),
        ]
        return m
