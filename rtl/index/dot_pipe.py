"""Dot products of pairs of vectors: a pipeline that never stalls."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..adder import SumTree, sum_latency
from ..check import check_count
from ..component import Component, pass_over
from ..formats import I8, Fixed, ceil_log2
from ..lane.pipeline import delayed
from ..product import Product

__all__ = ["DotPipeline"]


class DotPipeline(Component):
    """Multiply two vectors element by element; add up the products, and a constant.

    ::

        i.a --+
              v
        i.b (*) --> tree --> sum over the beats --> o

    One beat a cycle.

    Parameters
    ----------
    width : int
        Elements of a beat.
    beats : int
        Most beats of a vector.
    a, b : Fixed
        Elements, integers; a product takes a DSP slice (:class:`~qkloom.rtl.product.Product`).
    constant : int
        Added to every sum, 0 or more; not counted by ``sum_width``.
    tag : shape-like
        What travels with a pair.

    Members
    -------
    i : In(stream)
        A beat of either vector, ``a`` and ``b``; ``first`` and ``last`` of the pair; its ``tag``.
        Always taken.
    o : Out(stream)
        ``sum``, exact, and the ``tag`` of the last beat, ``latency`` cycles after it.
    sum_width : int
        Bits of a sum, signed.

    Raises
    ------
    TypeError, ValueError
        When a size is not a positive integer, a format no integer that a product takes, or the
        constant negative.
    """

    def __init__(
        self,
        *,
        width: int,
        beats: int,
        a: Fixed = I8,
        b: Fixed = I8,
        constant: int = 0,
        tag: Any = unsigned(0),  # noqa: B008 - shapes are immutable
    ) -> None:
        check_count("Width", width)
        check_count("Beats", beats)
        if constant < 0:
            raise ValueError(f"Constant must not be negative, but is {constant}")
        self._width, self._a, self._b, self._constant = width, a, b, constant
        pass_over(product := Product(a=a, b=b))
        self._product_width = len(product.o)
        self.sum_width = self._product_width + ceil_log2(width * beats)
        beat = data.StructLayout(
            {
                "a": data.ArrayLayout(a, width),
                "b": data.ArrayLayout(b, width),
                "first": 1,
                "last": 1,
                "tag": tag,
            }
        )
        result = data.StructLayout({"sum": signed(self.sum_width), "tag": tag})
        super().__init__(
            {
                "i": In(stream.Signature(beat, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Product, tree, sum."""
        return Product.latency + sum_latency(self._width) + 1

    def elaborate(self, platform: object) -> Module:
        """Build the products, and the sums."""
        m = Module()
        i, o = self.i.payload, self.o.payload
        products = [x * y for x in _ends(self._a) for y in _ends(self._b)]
        m.submodules.tree = tree = SumTree(
            n=self._width,
            low=min(products),
            high=max(products),
            width=self._product_width + ceil_log2(self._width),
        )
        for k in range(self._width):
            m.submodules[f"product_{k}"] = product = Product(a=self._a, b=self._b)
            m.d.comb += [
                product.i_a.eq(i.a[k]),
                product.i_b.eq(i.b[k]),
                tree.i.word_select(k, tree.i_width).eq(product.o[: tree.i_width]),
            ]

        # The sum over the beats: begun anew with a first one.
        valids = Signal(self.latency)
        ends = Signal(self.latency)
        m.d.sync += [
            valids.eq(Cat(self.i.valid, valids)),
            ends.eq(Cat(self.i.valid & i.last, ends)),
        ]
        is_first = delayed(m, i.first, self.latency - 1, name="first")
        total = Signal(signed(self.sum_width), reset_less=True)
        before = Signal(signed(self.sum_width))
        m.d.comb += before.eq(Mux(is_first, self._constant, total))
        with m.If(valids[-2]):
            m.d.sync += total.eq(before + tree.o)
        m.d.comb += [self.o.valid.eq(ends[-1]), o.sum.eq(total)]
        if len(tag := o.as_value()[self.sum_width :]):
            bits = i.as_value()[-len(tag) :]
            m.d.comb += tag.eq(delayed(m, bits, self.latency, name="tag"))
        return m


def _ends(element: Fixed) -> tuple[int, int]:
    return element.min_raw, element.max_raw
