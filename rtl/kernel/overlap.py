"""Whether outputs would be written over what is still to be read."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..axi.command import HALF
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from ..mover.selection import record_bytes
from ..sequencer.call import SELECTION_WIDTH, call_layout, n_blocks, row_words
from ..sequencer.sequencer import FACTOR_WIDTH, OUTPUT_WIDTH, TABLE_WIDTH, task_layout
from .code import Code

__all__ = ["OverlapCheck"]


class OverlapCheck(Component):
    """Refuse a call of which a part of the outputs overlaps another part, an input, or a table.

    Outputs of an index call are the selection and the records of heads.

    What keys and values take is not known when a block table says where they are: then they are
    not looked at.

    A call takes a cycle for each block of a head, for each head of a group, for each KV head, for
    each chunk of a product, and six for each pair of an output's pointer and another one: little
    beside the call.

    Parameters
    ----------
    channels : tuple of (str, int)
        Channels of each tensor.
    heads, tokens, head_dim : int
        Most query heads, longest sequence, largest head dimension.
    size, block : int
        Rows and columns of an array; tokens of a block.
    stream_width, stationary_width : int
        Bits of queries, and of keys and values.
    address_width : int
        Bits of an address.
    gemm : bool
        Whether a call may be a product of matrices.
    sparse : bool
        Whether a call may have a selection.
    index_tokens : int
        Longest sequence of an index call; 0 if there is none.
    data_width : int
        Bits of a beat: what rows of a selection are whole numbers of.

    Members
    -------
    i, o : stream
        Calls: :func:`~qkloom.rtl.sequencer.sequencer.task_layout`.
    refused : Out(stream)
        :attr:`Code.OVERLAP <qkloom.rtl.kernel.code.Code>` for a call that is not passed on.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    keep_boundary: ClassVar[bool] = True

    def __init__(
        self,
        *,
        channels: tuple[tuple[str, int], ...],
        heads: int,
        tokens: int,
        head_dim: int,
        size: int,
        block: int,
        stream_width: int = 8,
        stationary_width: int = 8,
        address_width: int = 64,
        gemm: bool = False,
        sparse: bool = False,
        index_tokens: int = 0,
        data_width: int = 256,
    ) -> None:
        self._gemm, self._sparse, self._selects = gemm, sparse, index_tokens > 0
        self._record_bits = ceil_log2(record_bytes(data_width))
        row = row_words(tokens=tokens, block=block, data_width=data_width)
        self._row_bits = ceil_log2(row * SELECTION_WIDTH // 8)
        self._channels = dict(channels)
        self._block = block
        self._most = n_blocks(heads=heads, tokens=tokens, block=block)
        self._most_per_head = -(-tokens // block)
        widths = {"q": stream_width, "k": stationary_width, "v": stationary_width}
        # Bytes of a block for each tile of head_dim.
        self._bytes = {
            name: block * size * width // 8 for name, width in {**widths, "o": OUTPUT_WIDTH}.items()
        }
        call = call_layout(
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            gemm=gemm,
            selects=self._selects,
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
                "i": In(stream.Signature(task)),
                "o": Out(stream.Signature(task)),
                "refused": Out(stream.Signature(data.StructLayout({"code": 8}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count blocks, make sizes of them, and compare all pairs, one after the other."""
        m = Module()
        task = self.i.payload
        most = range(self._most + 1)
        sizes: dict[str, Any] = {name: Signal(HALF + 16, name=f"size_{name}") for name in "qkvo"}
        heads = Signal(most)
        q_blocks = Signal(most)
        kv_blocks = Signal(most)
        all_blocks = Signal(most)  # of an index call: those of all tokens, of query heads
        counted = Signal()
        self._count(m, heads, q_blocks, kv_blocks, all_blocks, sizes, counted)

        # Pointers of everything; outputs first.
        places = [(task.o[k], "o") for k in range(self._channels["o"])]
        if self._selects:
            places += [(task.selection, "selection"), (task.verdicts, "verdicts")]
        n_outputs = len(places)
        places += [(task[name][k], name) for name in "qkv" for k in range(self._channels[name])]
        places += [(task.factors, "factors"), (task.table, "table")]
        table = Signal(ceil_log2(TABLE_WIDTH // 8) + len(kv_blocks))
        m.d.sync += table.eq(0)
        with m.If(task.paged):
            m.d.sync += table[ceil_log2(TABLE_WIDTH // 8) :].eq(kv_blocks)
        tables = {"factors": Cat(Const(0, ceil_log2(FACTOR_WIDTH // 8)), heads), "table": table}
        if self._sparse:
            rows = Signal(self._row_bits + len(q_blocks))
            m.d.sync += rows.eq(0)
            with m.If(task.sparse):
                m.d.sync += rows[self._row_bits :].eq(q_blocks)
            tables["selection"] = rows
            if not self._selects:
                places.append((task.selection, "selection"))
        outputs = {"o": sizes["o"]}
        if self._selects:
            # What is written, and what others are compared with; a selection that is read is none.
            written = Signal(self._row_bits + len(all_blocks))
            records = Signal(self._record_bits + len(heads))
            m.d.sync += [written.eq(0), records.eq(0)]
            with m.If(task.call.selects):
                m.d.sync += [
                    rows[self._row_bits :].eq(all_blocks),
                    written[self._row_bits :].eq(all_blocks),
                    records[self._record_bits :].eq(heads),
                ]
            outputs |= {"selection": written, "verdicts": records}
            tables["verdicts"] = records

        self._compare(m, places, n_outputs, sizes | tables, outputs, counted)
        m.d.comb += [self.o.payload.eq(task), self.refused.payload.code.eq(Code.OVERLAP)]
        return m

    def _count(
        self,
        m: Module,
        heads: Signal,
        q_blocks: Signal,
        kv_blocks: Signal,
        all_blocks: Signal,
        sizes: dict[str, Signal],
        counted: Signal,
    ) -> None:
        """Multiply by adding."""
        task = self.i.payload
        call, block = task.call, self._block
        q_left = Signal(signed(len(call.n_q) + 1))
        kv_left = Signal(signed(len(call.n_kv) + 1))
        per_head = Signal(range(self._most_per_head + 1))
        kv_per_head = Signal(range(self._most_per_head + 1))
        per_group = Signal.like(q_blocks)
        kv_per_group = Signal.like(q_blocks)  # if its query heads had keys of their own
        x_blocks = Signal.like(q_blocks)  # of queries, or of a product's activations
        left = Signal.like(call.kv_heads)
        factor = Signal.like(call.d_tiles)
        width = len(q_blocks) + len(factor)
        addends = {name: Signal(width, name=f"addend_{name}") for name in sizes}
        products = {name: Signal(width, name=f"product_{name}") for name in sizes}
        for addend in addends.values():
            m.d.sync += addend.eq(addend << 1)
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [q_left.eq(call.n_q), kv_left.eq(call.n_kv)]
                m.d.sync += [per_head.eq(0), kv_per_head.eq(0), per_group.eq(0)]
                m.d.sync += [q_blocks.eq(0), kv_blocks.eq(0), heads.eq(0), left.eq(call.group)]
                if self._gemm:
                    m.d.sync += x_blocks.eq(0)
                if self._selects:
                    m.d.sync += [kv_per_group.eq(0), all_blocks.eq(0)]
                with m.If(self.i.valid):
                    m.next = "blocks"
            with m.State("blocks"):
                with m.If(q_left > 0):
                    m.d.sync += [q_left.eq(q_left - block), per_head.eq(per_head + 1)]
                with m.If(kv_left > 0):
                    m.d.sync += [kv_left.eq(kv_left - block), kv_per_head.eq(kv_per_head + 1)]
                with m.If((q_left <= 0) & (kv_left <= 0)):
                    m.next = "group"
            with m.State("group"):
                m.d.sync += [per_group.eq(per_group + per_head), left.eq(left - 1)]
                if self._selects:
                    m.d.sync += kv_per_group.eq(kv_per_group + kv_per_head)
                with m.If(left == 1):
                    m.d.sync += left.eq(call.kv_heads)
                    m.next = "heads"
            with m.State("heads"):
                m.d.sync += [
                    q_blocks.eq(q_blocks + per_group),
                    kv_blocks.eq(kv_blocks + kv_per_head),
                    heads.eq(heads + call.group),
                    left.eq(left - 1),
                ]
                if self._gemm:
                    m.d.sync += x_blocks.eq(x_blocks + per_group)
                if self._selects:
                    m.d.sync += all_blocks.eq(all_blocks + kv_per_group)
                with m.If(left == 1):
                    m.next = "spread"
                    if self._gemm:
                        with m.If(call.gemm):
                            m.d.sync += [left.eq(call.chunks), x_blocks.eq(0), kv_blocks.eq(0)]
                            m.next = "chunks"
            if self._gemm:
                with m.State("chunks"):
                    m.d.sync += [
                        x_blocks.eq(x_blocks + per_head),
                        kv_blocks.eq(kv_blocks + kv_per_head),
                        left.eq(left - 1),
                    ]
                    with m.If(left == 1):
                        m.next = "spread"
            with m.State("spread"):
                asked: dict[str, Any] = {"q": q_blocks, "k": kv_blocks, "v": kv_blocks}
                if self._gemm:
                    asked["q"] = x_blocks
                if self._selects:  # queries of all tokens are where values are else
                    asked["v"] = Mux(call.selects, all_blocks, kv_blocks)
                for name, addend in addends.items():
                    blocks = asked.get(name, q_blocks)
                    n = self._channels[name]
                    m.d.sync += addend.eq((blocks + (n - 1)) >> ceil_log2(n))
                    m.d.sync += products[name].eq(0)
                m.d.sync += factor.eq(call.d_tiles)
                m.next = "multiply"
            with m.State("multiply"):
                for name, addend in addends.items():
                    with m.If(factor[0]):
                        m.d.sync += products[name].eq(products[name] + addend)
                m.d.sync += factor.eq(factor >> 1)
                with m.If(factor == 0):
                    m.next = "scale"
            with m.State("scale"):
                for name, size in sizes.items():
                    m.d.sync += size.eq(products[name] * self._bytes[name])
                with m.If(task.paged):
                    m.d.sync += sizes["k"].eq(0)
                    with m.If(~call.selects if self._selects else 1):
                        m.d.sync += sizes["v"].eq(0)
                if self._selects:
                    with m.If(call.selects):
                        m.d.sync += sizes["o"].eq(0)
                if self._gemm:
                    with m.If(call.gemm):
                        m.d.sync += sizes["o"].eq(products["o"] * (self._bytes["o"] // 4))
                m.next = "counted"
            with m.State("counted"):
                m.d.comb += counted.eq(1)
                with m.If(self.i.ready):
                    m.next = "idle"

    def _compare(
        self,
        m: Module,
        places: list[tuple[Value, str]],
        n_outputs: int,
        sizes: dict[str, Value],
        output_sizes: dict[str, Value],
        counted: Signal,
    ) -> None:
        """Go through all pairs of an output and something else."""
        width = len(places[0][0])
        output = Signal(index(n_outputs))
        other = Signal(index(len(places)))
        names = ("output", "other")
        begins = {name: Signal(width, name=f"{name}_begins", reset_less=True) for name in names}
        extents = {
            name: Signal(HALF + 16, name=f"{name}_extent", reset_less=True) for name in names
        }
        lows = {name: Signal(HALF + 1, name=f"{name}_end_low", reset_less=True) for name in names}
        highs = {
            name: Signal(width - HALF, name=f"{name}_end_high", reset_less=True) for name in names
        }
        # The one begins before the other ends, in the high half, in the low half; or as high.
        before = {name: Signal(3, name=f"{name}_before") for name in names}
        has_bytes = {name: Signal(name=f"{name}_has_bytes") for name in names}
        overlaps = Signal()
        offers = Signal()
        refuses = Signal()
        m.d.comb += [
            self.o.valid.eq(offers),
            self.refused.valid.eq(refuses),
        ]
        # A call leaves here a cycle after its answer: what waits for the engine ends at a register.
        m.d.sync += self.i.ready.eq((offers & self.o.ready) | (refuses & self.refused.ready))
        with m.If(self.o.ready):
            m.d.sync += offers.eq(0)
        with m.If(self.refused.ready):
            m.d.sync += refuses.eq(0)
        # Both numbers stay from one choice to the next: hundreds of registers need no enable. The
        # other one of many is chosen by a bit for each, and for each kind: nothing decodes it. The
        # tables, behind all tensors, are chosen a cycle ahead: that many fewer to choose from.
        n_tensors = n_outputs + sum(self._channels[name] for name in "qkv")
        table = Signal(width, name="table_begins", reset_less=True)
        m.d.sync += table.eq(
            reduce(or_, (Mux(other == k, places[k][0], 0) for k in range(n_tensors, len(places))))
        )
        pointer: Any = table
        for k, (of, _) in enumerate(places[:n_tensors]):
            is_at = Signal(name=f"is_at_{k}")
            m.d.sync += is_at.eq(other == k)
            pointer |= Mux(is_at, of, 0)
        extent: Any = 0
        for kind in dict.fromkeys(kind for _, kind in places):
            is_of = Signal(name=f"is_of_{kind}")
            numbers = [k for k, (_, of) in enumerate(places) if of == kind]
            exists = ~self.i.payload.call.gemm if self._gemm and kind == "v" else 1
            m.d.sync += is_of.eq(other.matches(*numbers) & exists)
            extent |= Mux(is_of, sizes[kind], 0)
        written: Any = output_sizes["o"]
        for number, (_, kind) in enumerate(places[:n_outputs]):
            if kind != "o":
                written = Mux(output == number, output_sizes[kind], written)
        first = data.ArrayLayout(width, n_outputs)(Cat(of for of, _ in places[:n_outputs]))
        m.d.sync += [
            begins["output"].eq(first[output]),
            begins["other"].eq(pointer),
            extents["output"].eq(written),
            extents["other"].eq(extent),
            *(has_bytes[name].eq(extents[name].any()) for name in names),
        ]
        # Sizes are a multiple of words: that much less to carry.
        units = [*self._bytes.values(), self._bytes["o"] // 4, FACTOR_WIDTH // 8, TABLE_WIDTH // 8]
        zeros = min((unit & -unit).bit_length() - 1 for unit in units)
        with m.FSM():
            with m.State("wait"):
                m.d.sync += [output.eq(0), other.eq(1)]
                with m.If(counted):
                    m.next = "choose"
            with m.State("choose"):
                m.next = "size"
            with m.State("size"):
                m.next = "low"
            with m.State("low"):
                for name in names:
                    upper = begins[name][zeros:HALF] + extents[name][zeros:HALF]
                    m.d.sync += lows[name].eq(Cat(begins[name][:zeros], upper))
                m.next = "high"
            with m.State("high"):
                for name in names:
                    high = begins[name][HALF:] + extents[name][HALF:] + lows[name][HALF]
                    m.d.sync += highs[name].eq(high)
                m.next = "compare"
            with m.State("compare"):
                for one, two in (names, names[::-1]):
                    high, low = begins[one][HALF:], begins[one][:HALF]
                    m.d.sync += before[one].eq(
                        Cat(high < highs[two], high == highs[two], low < lows[two][:HALF])
                    )
                m.next = "judge"
            with m.State("judge"):
                m.d.comb += overlaps.eq(
                    has_bytes["output"]
                    & has_bytes["other"]
                    & (before["output"][0] | before["output"][1:].all())
                    & (before["other"][0] | before["other"][1:].all())
                )
                m.d.sync += other.eq(other + 1)
                m.next = "choose"
                with m.If(other == len(places) - 1):
                    m.d.sync += [output.eq(output + 1), other.eq(output + 2)]
                    m.next = "choose"
                    with m.If(output == n_outputs - 1):
                        m.d.sync += offers.eq(1)
                        m.next = "answer"
                with m.If(overlaps):
                    m.d.sync += [refuses.eq(1), offers.eq(0)]
                    m.next = "answer"
            with m.State("answer"), m.If(~offers & ~refuses):
                m.next = "wait"
