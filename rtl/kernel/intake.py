"""From what a host wrote to a call that can be computed, or to the reason why not."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..control.register import Register, values_layout
from ..formats import ceil_log2
from ..index.share import GAMMA_BITS
from ..sequencer.call import call_layout
from ..sequencer.sequencer import task_layout
from .code import Code

__all__ = ["Intake"]


class Intake(Component):
    """Check a call, and cut its numbers to the widths that the sequencer has for them.

    Heads are divided by KV heads by subtracting; so a call takes as many cycles as a KV head has
    query heads, and a few; where calls may be products, as many more as there are heads.

    Parameters
    ----------
    arguments : tuple of Register
        What the host writes.
    channels : tuple of (str, int)
        Channels of each tensor.
    heads, tokens, head_dim, size : int
        Most query heads, longest sequence, largest head dimension; size of an array.
    stream_width : int
        Bits of a query's element.
    data_width, address_width : int
        Bits of a beat and of an address.
    product_dim : int
        Largest head_dim of a product of matrices; 0 if a call cannot be one.
    sparse : bool
        Whether a call may have a selection.
    index_tokens, block : int
        Longest sequence of an index call, 0 if there is none; tokens of a block.

    Members
    -------
    i : In(stream)
        What the host wrote; a call is taken when what became of the one before was.
    o : Out(stream)
        Calls to compute: :func:`~qkloom.rtl.sequencer.sequencer.task_layout`.
    refused : Out(stream)
        The :class:`~qkloom.rtl.kernel.code.Code` of a call that cannot be computed.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(
        self,
        *,
        arguments: tuple[Register, ...],
        channels: tuple[tuple[str, int], ...],
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        stream_width: int,
        data_width: int,
        address_width: int = 64,
        product_dim: int = 0,
        sparse: bool = False,
        index_tokens: int = 0,
        block: int = 1,
    ) -> None:
        for name, value in {
            "Heads": heads,
            "Tokens": tokens,
            "Head dimension": head_dim,
            "Size": size,
            "Stream width": stream_width,
            "Data width": data_width,
            "Block": block,
        }.items():
            check_count(name, value)
        self._channels = channels
        self._limits = {"heads": heads, "tokens": tokens, "head_dim": head_dim}
        self._size_bits, self._stream_width = ceil_log2(size), stream_width
        self._align_bits = ceil_log2(data_width // 8)
        self._product_dim, self._sparse = product_dim, sparse
        self._index_tokens, self._block = index_tokens, block
        call = call_layout(
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            gemm=bool(product_dim),
            selects=index_tokens > 0,
        )
        task = task_layout(
            call=call,
            channels=channels,
            address_width=address_width,
            sparse=sparse,
            index_blocks=-(-index_tokens // block),
        )
        super().__init__(
            {
                "i": In(stream.Signature(values_layout(arguments))),
                "o": Out(stream.Signature(task)),
                "refused": Out(stream.Signature(data.StructLayout({"code": 8}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Compare in one cycle, divide in some, choose the first mistake in another."""
        m = Module()
        # Registers, for the whole engine looks at them. Whether they take is one too.
        takes = Signal(init=1)
        given = Signal(self.i.payload.shape(), reset_less=True)
        offers = Signal()
        refuses = Signal()
        m.d.comb += [
            self.i.ready.eq(takes),
            self.o.valid.eq(offers),
            self.refused.valid.eq(refuses),
        ]
        with m.If(takes):
            m.d.sync += given.eq(self.i.payload)
        task = self.o.payload
        call = task.call
        left = Signal(len(call.kv_heads))
        group = Signal.like(call.group)
        rules = self._rules(given)
        broken = Signal(len(rules))
        code = Signal(8)
        m.d.sync += broken.eq(Cat(rule for _, rule in rules))

        m.d.comb += [
            call.kv_heads.eq(given.kv_heads),
            call.group.eq(group),
            call.n_q.eq(given.n_q),
            call.n_kv.eq(given.n_kv),
            call.q_start.eq(given.q_start),
            call.causal.eq(given.flags.causal),
            call.d_tiles.eq(given.head_dim >> self._size_bits),
            call.planes.eq(given.query_bits),
            task.factors.eq(given.factors),
            task.table.eq(given.table),
            task.paged.eq(given.flags.table),
            self.refused.payload.code.eq(code),
        ]
        if self._product_dim:
            m.d.comb += [call.gemm.eq(given.flags.gemm), call.chunks.eq(given.chunks)]
        if self._sparse:
            m.d.comb += [task.selection.eq(given.selection), task.sparse.eq(given.flags.sparse)]
        if self._index_tokens:
            m.d.comb += [
                call.selects.eq(given.flags.index),
                task.heads.eq(given.heads),
                task.verdicts.eq(given.verdicts),
                task.rule.gamma.eq(given.gamma),
                task.rule.limit.eq(given.limit),
                task.rule.least.eq(given.fewest),
                task.rule.most.eq(given.most),
            ]
        for name, n in self._channels:
            m.d.comb += [task[name][k].eq(given[f"{name}_{k}"]) for k in range(n)]

        # Of a product's channels, what is left when each group has had its own: nothing.
        most = max(self._limits["heads"] * self._limits["head_dim"], self._limits["tokens"])
        channels = Signal(range(2 * most))

        def offer() -> None:
            m.d.sync += offers.eq(1)
            m.next = "offer"

        def refuse() -> None:
            m.d.sync += refuses.eq(1)
            m.next = "refuse"

        with m.FSM():
            with m.State("take"), m.If(self.i.valid):
                m.d.sync += takes.eq(0)
                m.next = "compare"
            with m.State("compare"):
                m.d.sync += [left.eq(given.heads), group.eq(0)]
                m.next = "judge"
            with m.State("judge"):
                for number, (rule, _) in reversed(list(enumerate(rules))):
                    with m.If(broken[number]):
                        m.d.sync += code.eq(rule)
                m.next = "divide"
                with m.If(broken.any()):
                    refuse()
            with m.State("divide"):
                m.d.sync += code.eq(Code.HEADS)
                with m.If(left >= call.kv_heads):
                    m.d.sync += [left.eq(left - call.kv_heads), group.eq(group + 1)]
                with m.Elif(left != 0):
                    refuse()
                with m.Else():
                    if self._product_dim:
                        m.d.sync += [left.eq(given.heads), channels.eq(given.n_kv)]
                        m.next = "channels"
                    else:
                        offer()
            if self._product_dim:
                with m.State("channels"):
                    m.d.sync += [left.eq(left - 1), channels.eq(channels - given.head_dim)]
                    with m.If(left == 1):
                        m.next = "left over"
                with m.State("left over"):
                    m.d.sync += code.eq(Code.KEYS)
                    with m.If(given.flags.gemm & (channels != 0)):
                        refuse()
                    with m.Else():
                        offer()
            with m.State("offer"), m.If(self.o.ready):
                m.d.sync += [offers.eq(0), takes.eq(1)]
                m.next = "take"
            with m.State("refuse"), m.If(self.refused.ready):
                m.d.sync += [refuses.eq(0), takes.eq(1)]
                m.next = "take"
        return m

    def _rules(self, given: Any) -> list[tuple[Code, Any]]:
        """Return what a call must not be, each with its code; the first that holds is told."""
        limits = self._limits
        tokens = limits["tokens"]
        pointers = [given[f"{name}_{k}"] for name, n in self._channels for k in range(n)] + [
            given.factors,
            Mux(given.flags.table, given.table, 0),
        ]
        flags = given.flags
        wrong_kind = flags.sparse
        if self._sparse:
            wrong_kind = flags.sparse & flags.gemm
            follows = flags.sparse | (flags.index if self._index_tokens else 0)
            pointers.append(Mux(follows, given.selection, 0))
        of_index: list[tuple[Code, Any]] = [(Code.KIND, flags.index)]
        if self._index_tokens:
            pointers.append(Mux(flags.index, given.verdicts, 0))
            of_index = self._index_rules(given)
        of_products: list[tuple[Code, Any]] = [(Code.KIND, flags.gemm)]
        if self._product_dim:
            of_products = [
                (Code.KIND, flags.gemm & (flags.causal | flags.table)),
                (Code.HEAD_DIM, flags.gemm & (given.head_dim > self._product_dim)),
                (Code.CHUNKS, flags.gemm & _out_of_range(given.chunks, limits["heads"])),
            ]
        return [
            (Code.HEADS, _out_of_range(given.heads, limits["heads"])),
            (Code.HEADS, _out_of_range(given.kv_heads, limits["heads"])),
            (Code.QUERIES, _out_of_range(given.n_q, tokens)),
            (Code.KEYS, _out_of_range(given.n_kv, tokens)),
            (Code.START, _is_beyond(given.q_start, tokens)),
            (Code.START, ~flags.causal & (given.q_start != 0)),
            (Code.HEAD_DIM, _out_of_range(given.head_dim, limits["head_dim"])),
            (Code.HEAD_DIM, given.head_dim[: self._size_bits].any()),
            (Code.BITS, (given.query_bits < 2) | (given.query_bits > self._stream_width)),
            (Code.ALIGNMENT, reduce(or_, (p[: self._align_bits] for p in pointers)).any()),
            (Code.KIND, wrong_kind),
            *of_products,
            *of_index,
        ]

    def _index_rules(self, given: Any) -> list[tuple[Code, Any]]:
        """Return what an index call must not be. Its queries are the last ones."""
        flags, most = given.flags, -(-self._index_tokens // self._block)
        start = given.q_start[: len(given.n_kv)]
        return [
            (Code.KIND, flags.index & (flags.gemm | flags.sparse | ~flags.causal)),
            (Code.QUERIES, flags.index & (given.n_q > self._block)),
            (Code.KEYS, flags.index & (given.n_kv > self._index_tokens)),
            (Code.START, flags.index & (start + given.n_q != given.n_kv)),
            (Code.RULE, flags.index & (given.gamma > 1 << GAMMA_BITS)),
            (Code.RULE, flags.index & _out_of_range(given.most, most)),
            (Code.RULE, flags.index & (given.most < given.fewest)),
        ]


def _out_of_range(value: Value, most: int) -> Value:
    """Return whether a number is not 1 to ``most``."""
    return (value == 0) | (value > most)


def _is_beyond(value: Value, most: int) -> Value:
    """Return whether a signed number is not ``-most`` to ``most``; only low bits are compared."""
    low = value[: ceil_log2(most) + 2].as_signed()
    signs = value[len(low) - 1 :]
    return (signs.any() & ~signs.all()) | (low > most) | (low < -most)
