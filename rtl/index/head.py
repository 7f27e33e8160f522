"""Which block columns, block diagonals and pairs of blocks a head takes."""

from typing import ClassVar

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..stream import connect_stream
from .candidates import CandidateStore
from .code import CodeEncoder, code_width
from .divergence import Divergence
from .numerics import IndexNumerics
from .rule import factor_layout, rule_layout
from .selector import CoverageSelector

__all__ = ["HeadSelector", "head_ask_layout", "verdict_layout"]


def head_ask_layout(blocks: int) -> data.StructLayout:
    """Return the layout of what is asked of a head: its score factor, and the rule of its call."""
    return data.StructLayout({**factor_layout().members, **rule_layout(blocks).members})


def verdict_layout(blocks: int) -> data.StructLayout:
    """Return the layout of what is known of a head before its blocks are selected.

    ``blocks``: how many there are. ``is_aware``: pairs of blocks are selected, too.
    ``divergence``: in units of ``2**-divergence_fraction``.
    """
    return data.StructLayout(
        {
            "blocks": blocks.bit_length(),
            "is_aware": 1,
            "divergence": IndexNumerics.divergence_fraction + 2,
        }
    )


class HeadSelector(Component):
    """Select what a head attends to, from the attention of its last queries.

    ::

        i_mass --+--> divergence ---------------------> o_verdict
                 +--> encoders --> stores --+
        i_pair -----------------------------+--> selector --> o, o_result

    Block columns come first, ascending; block diagonals next, the main one first; the first of each
    is always taken. Of a query-aware head as few as there may be are, and then come its pairs, as
    :class:`~qkloom.rtl.index.selector.CoverageSelector` wants them.

    A head of ``n`` blocks takes ``3 n + 110`` cycles to compare, and as many as the selector says,
    about ``3 n + 620``, for columns and for diagonals each.

    Parameters
    ----------
    blocks : int
        Most blocks of a head.
    mass_width, mean_width, mean_fraction, fraction : int
        As of :class:`~qkloom.rtl.index.divergence.Divergence`.
    pairs : bool
        Whether heads may be query-aware; if not, ``limit`` has no effect.

    Members
    -------
    ask : In(stream)
        :func:`head_ask_layout`, of each head; taken before its blocks.
    i_mass : In(stream)
        ``vertical``, ``slash``, ``mean``, ``last``: see
        :func:`~qkloom.rtl.index.masses.mass_layout`.
    i_pair : In(stream)
        With ``pairs``, a query-aware head's pairs, as often as the selector has passes.
    o_verdict : Out(stream)
        :func:`verdict_layout`, of each head, before its blocks.
    o : Out(stream)
        ``taken`` of each column, diagonal, pair; ``last`` of each kind.
    o_result : Out(stream)
        Of each kind, ``count``, ``mass``, ``total``, ``flat``: see the selector.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        blocks: int,
        mass_width: int,
        mean_width: int,
        mean_fraction: int,
        fraction: int,
        pairs: bool = True,
    ) -> None:
        check_count("Blocks", blocks)
        self._blocks, self._pairs = blocks, pairs
        self._compare = dict(
            blocks=blocks,
            mass_width=mass_width,
            mean_width=mean_width,
            mean_fraction=mean_fraction,
            fraction=fraction,
        )
        self._candidates = blocks * (blocks + 1) // 2 if pairs else blocks
        width = code_width(IndexNumerics.value_width, IndexNumerics.code_fraction)
        mass = data.StructLayout(
            {
                "vertical": mass_width,
                "slash": mass_width,
                "mean": signed(mean_width),
                "last": 1,
            }
        )
        pair = data.StructLayout({"code": width, "always": 1, "last": 1})
        count = self._candidates.bit_length()
        total = IndexNumerics.value_width
        result = {"count": count, "mass": total, "total": total, "flat": 1}
        super().__init__(
            {
                "ask": In(stream.Signature(head_ask_layout(blocks))),
                "i_mass": In(stream.Signature(mass)),
                **({"i_pair": In(stream.Signature(pair))} if pairs else {}),
                "o_verdict": Out(stream.Signature(verdict_layout(blocks))),
                "o": Out(stream.Signature(data.StructLayout({"taken": 1, "last": 1}))),
                "o_result": Out(stream.Signature(data.StructLayout(result))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Compare and store; then a selection after the other."""
        m = Module()
        mass, ask = self.i_mass.payload, self.ask.payload
        m.submodules.divergence = divergence = Divergence(**self._compare)
        m.submodules.selector = selector = CoverageSelector(
            candidates=self._candidates,
            value_width=IndexNumerics.value_width,
            fraction=IndexNumerics.code_fraction,
            total_width=IndexNumerics.value_width,
        )
        asked = Signal(ask.shape(), reset_less=True)
        has_ask = Signal()
        verdict = self.o_verdict.payload

        # A block goes to the comparison, and its codes to the stores; the next head is asked for
        # when this one has been selected.
        takes = Signal()
        accepts = Signal()
        ends = Signal()
        m.d.comb += self.ask.ready.eq(~has_ask)
        with m.If(self.ask.valid & ~has_ask):
            m.d.sync += [has_ask.eq(1), accepts.eq(1), asked.eq(ask)]
        with m.If(ends):
            m.d.sync += has_ask.eq(0)
        compared = divergence.i.payload
        m.d.comb += [
            divergence.i.valid.eq(self.i_mass.valid & accepts),
            takes.eq(divergence.i.valid & divergence.i.ready),
            self.i_mass.ready.eq(divergence.i.ready & accepts),
            compared.vertical.eq(mass.vertical),
            compared.mean.eq(mass.mean),
            compared.last.eq(mass.last),
            compared.mantissa.eq(asked.mantissa),
            compared["shift"].eq(asked["shift"]),
        ]
        number = Signal.like(verdict.blocks)
        with m.If(takes):
            m.d.sync += number.eq(Mux(mass.last, 0, number + 1))
            with m.If(mass.last):
                m.d.sync += [verdict.blocks.eq(number + 1), accepts.eq(0)]
        stores = {}
        for name, backwards in (("vertical", False), ("slash", True)):
            encoder = CodeEncoder(
                value_width=IndexNumerics.value_width,
                fraction=IndexNumerics.code_fraction,
                tag=data.StructLayout({"last": 1}),
            )
            store = CandidateStore(
                candidates=self._blocks,
                code_width=len(encoder.o.payload.code),
                passes=selector.passes,
                backwards=backwards,
            )
            m.submodules[f"{name}_encoder"], m.submodules[f"{name}_store"] = encoder, store
            stores[name] = store
            m.d.comb += [
                encoder.i.valid.eq(takes),
                encoder.i.payload.value.eq(mass[name]),
                encoder.i.payload.tag.last.eq(mass.last),
                store.i.valid.eq(encoder.o.valid),
                store.i.payload.code.eq(encoder.o.payload.code),
                store.i.payload.last.eq(encoder.o.payload.tag.last),
            ]

        # Which selection it is.
        kinds = Signal(3, init=0)  # columns, diagonals, pairs
        starts = Signal()
        is_pairs = Signal()
        may_be_aware = Signal(reset_less=True)
        m.d.sync += may_be_aware.eq(~asked.gamma[-1])
        sparse = Signal(reset_less=True)
        start = selector.start.payload
        m.d.comb += [
            is_pairs.eq(kinds[2]),
            selector.start.valid.eq(starts),
            start.gamma.eq(Mux(verdict.is_aware & ~is_pairs, 0, asked.gamma)),
            start.least.eq(Mux(is_pairs, 0, asked.least)),
            start.most.eq(Mux(is_pairs, -1, asked.most)),
        ]
        # A source is open for as many passes as there are: the next head's pairs may wait behind.
        plays = Signal()
        n_passed = Signal(range(selector.passes))
        for bit, store in enumerate(stores.values()):
            m.d.comb += store.play.valid.eq(kinds[bit] & plays)
        with m.If(selector.i.valid & selector.i.ready & selector.i.payload.last):
            m.d.sync += n_passed.eq(n_passed + 1)
            with m.If(n_passed == selector.passes - 1):
                m.d.sync += [n_passed.eq(0), plays.eq(0)]
        sources = [stores["vertical"].o, stores["slash"].o]
        if self._pairs:
            sources.append(self.i_pair)
        for number_of_kind, source in enumerate(sources):
            with m.If(kinds[number_of_kind] & plays):
                m.d.comb += [
                    selector.i.valid.eq(source.valid),
                    selector.i.payload.eq(source.payload),
                    source.ready.eq(selector.i.ready),
                ]
        connect_stream(m, selector.o, wiring.flipped(self.o))
        m.d.comb += self.o_result.payload.eq(selector.result.payload)
        with m.FSM():
            with m.State("compare"):
                m.d.comb += divergence.o.ready.eq(1)
                with m.If(divergence.o.valid):
                    m.d.sync += [
                        verdict.divergence.eq(divergence.o.payload),
                        sparse.eq(divergence.o.payload < asked.limit),
                    ]
                    m.next = "judge"
            with m.State("judge"):
                m.d.sync += verdict.is_aware.eq(sparse & may_be_aware if self._pairs else 0)
                m.d.sync += self.o_verdict.valid.eq(1)
                m.next = "tell"
            with m.State("tell"), m.If(self.o_verdict.ready):
                m.d.sync += [self.o_verdict.valid.eq(0), kinds.eq(1), starts.eq(1), plays.eq(1)]
                m.next = "select"
            with m.State("select"):
                with m.If(selector.start.ready):
                    m.d.sync += starts.eq(0)
                m.d.comb += [
                    self.o_result.valid.eq(selector.result.valid),
                    selector.result.ready.eq(self.o_result.ready),
                ]
                with m.If(selector.result.valid & self.o_result.ready):
                    m.d.sync += [kinds.eq(kinds << 1), starts.eq(1), plays.eq(1)]
                    with m.If(kinds[2] | (kinds[1] & ~verdict.is_aware)):
                        m.d.sync += [kinds.eq(0), starts.eq(0)]
                        m.d.comb += ends.eq(1)
                        m.next = "compare"
        return m
