"""What the author of a driver must know of a kernel beside its registers: limits, memory, codes."""

from collections.abc import Iterator

from ..rtl.index.numerics import IndexNumerics
from ..rtl.kernel.code import Code
from ..rtl.kernel.kernel import Kernel
from ..rtl.lane.numerics import Numerics
from ..rtl.mover.selection import record_bytes
from ..tb.kernel.task import row_bytes
from .host.check import argument_channels
from .host.device import MAX_QUEUED
from .registers import Constant

__all__ = ["call_constants", "call_guide"]


def call_constants(kernel: Kernel) -> list[Constant]:
    """Return the limits of a kernel's calls, and the codes that calls end with."""
    return [*_limits(kernel), *(Constant(f"CODE_{c.name}", c.value, c.meaning) for c in Code)]


def call_guide(kernel: Kernel) -> str:
    """Return, in Markdown, how calls are made: what lies where, and what becomes of them."""
    given = kernel.parameters
    channels = argument_channels(kernel)
    widths = {"q": given["stream_width"], **dict.fromkeys("kv", given["stationary_width"]), "o": 32}
    pointers = [
        f"| {_first_to_last([name for name in channels if name.split('_')[0] == tensor])} "
        f"| {', '.join(map(str, kernel.channels[tensor]))} | int{width} |"
        for tensor, width in widths.items()
    ]
    return _GUIDE.format(
        queued=MAX_QUEUED,
        limits="\n".join(
            f"| `{name}` | {value:,} | {doc} |" for name, value, doc in _limits(kernel)
        ),
        block=given["block_rows"],
        pointers="\n".join(pointers),
        tables=channels["factors"],
        nibbles=_NIBBLES if 4 in widths.values() else "",
        out_fraction=Numerics.out_fraction,
        mantissa=Numerics.mantissa_width,
        shift=Numerics.shift_width,
        fraction=given["fraction"],
        **_selection(kernel, channels["factors"]),
        product=_PRODUCT if given["gemm"] else "",
        codes="\n".join(f"| {c.value} | `CODE_{c.name}` | {c.meaning} |" for c in Code),
    )


def _selection(kernel: Kernel, channel: int) -> dict[str, str]:
    given = kernel.parameters
    if not given["sparse"]:
        return {"selection_pointer": "", "selection": ""}
    texts = {
        "selection_pointer": _SELECTION_POINTER.format(tables=channel),
        "selection": _SELECTION.format(block=given["block_rows"], row=row_bytes(kernel)),
    }
    if given["index_tokens"]:
        texts["selection_pointer"] += _VERDICT_POINTER.format(tables=channel)
        texts["selection"] += _INDEX.format(
            block=given["block_rows"],
            record=record_bytes(given["data_width"]),
            gamma=IndexNumerics.gamma_fraction,
            divergence=IndexNumerics.divergence_fraction,
        )
    return texts


def _limits(kernel: Kernel) -> Iterator[Constant]:
    given = kernel.parameters
    yield Constant("MAX_HEADS", given["heads"], "Most query heads of a call")
    yield Constant("MAX_TOKENS", given["tokens"], "Most queries, and most keys, of a head")
    yield Constant("MAX_HEAD_DIM", given["head_dim"], "Largest head_dim")
    if given["gemm"]:
        most = min(given["head_dim"], given["block_rows"])
        yield Constant("MAX_PRODUCT_HEAD_DIM", most, "Largest head_dim of a product")
    if given["sparse"]:
        yield Constant("SELECTION_ROW", row_bytes(kernel), "Bytes of a row of a selection")
    if given["index_tokens"]:
        yield Constant("MAX_INDEX_TOKENS", given["index_tokens"], "Longest sequence to select from")
        record = record_bytes(given["data_width"])
        yield Constant("RECORD", record, "Bytes from a head's record to the next one's")
    yield Constant("SIZE", given["size"], "What head_dim must be a multiple of")
    yield Constant("BLOCK", given["block_rows"], "Tokens of a block in memory")
    yield Constant("ALIGNMENT", given["data_width"] // 8, "What pointers must be a multiple of")
    yield Constant("QUERY_BITS", given["stream_width"], "Bits of an element of the queries")
    yield Constant("KEY_BITS", given["stationary_width"], "Bits of one of the keys and values")


def _first_to_last(names: list[str]) -> str:
    return f"`{names[0]}`" if len(names) == 1 else f"`{names[0]}` to `{names[-1]}`"


_GUIDE = """\
## How a call is made

1. Write what the call is told, then 1 to `control.ap_start`. The next call may be written when
   `ap_start` reads 0 again: up to {queued} calls wait or run.
2. When `control.ap_done` is 1 (an interrupt says so, if enabled), `error.code` is that of the
   oldest call. Write 1 to `control.ap_continue` to take note of it.
3. `reset.request` drops all calls, finished or not, and lets no AXI transaction hang. What was
   written to arguments stays, and so do all counters, which run from the reset pin on.

## Limits

| In `registers.h` | Value | Meaning |
|---|---|---|
{limits}

## Memory

A tensor (heads, tokens, head_dim) is cut into blocks of {block} tokens, the last one of a head
filled up with anything; blocks are numbered head by head. With `n` parts, block `g` is in part
`g % n`, as number `g // n` of those there, one behind the other. Within a block elements lie token
by token. Pointers are absolute addresses; these are the memory channels of the parts:

| Pointers | Channels | Elements |
|---|---|---|
{pointers}
| `factors` | {tables} | two uint32 of each query head |
| `table` | {tables} | a uint32 of each block of keys and values |
{selection_pointer}{nibbles}
- Outputs are signed numbers with {out_fraction} fraction bits, in units of the scale of the values.
- The two words of a factor are mantissa and shift, of up to {mantissa} and {shift} bits:
  `mantissa / 2^shift` is `scale_q * scale_k * log2(e) / sqrt(head_dim) * 2^{fraction}`.
- With `flags.table`, entry `kv_head * ceil(n_kv / {block}) + i` of the table is the number in
  memory of block `i` of that head.
- Outputs must share no byte with anything else that the call is told of.
{selection}{product}
## Codes

| `error.code` | In `registers.h` | Meaning |
|---|---|---|
{codes}

Codes below 16 are of calls that were not begun. After 16, 17 or 18 the next calls fail, too: they
end with such a code until `reset.request`.
"""

_NIBBLES = """
- Elements of 4 bits share a byte, the first one in the low half."""

_SELECTION_POINTER = """\
| `selection` | {tables} | a row of bits of each block of queries |
"""

_SELECTION = """
## Selections

With `flags.sparse` a block of queries attends to the blocks of keys that its row of the selection
says, of those that it sees: bit `b % 8` of byte `b // 8` of a row is block `b` of its KV head. Row
`head * ceil(n_q / {block}) + i` is block `i` of that query head; rows are {row} bytes apart. Bits
of blocks that are not seen, and bytes behind them, may be anything. Blocks of keys that nobody
selects are not read. A block of queries with nothing selected gives zeros.
"""

_VERDICT_POINTER = """\
| `verdicts` | {tables} | a record of each query head |
"""

_INDEX = """
## Index calls

With `flags.index` and `flags.causal` a call finds out what blocks of queries need, in causal
attention of `n_kv` tokens to themselves, and writes it as a selection that sparse calls read, a row
for each block of `n_kv` queries; what lies behind a row's blocks may be anything. There are no
outputs. `q` are the last queries of each head, up to {block} of them: `n_q` so many, `q_start`
`n_kv - n_q`. `v` are the queries of all tokens, heads as query heads have them; those of heads that
are query-aware, or may be, are read, and no block table leads to them.

- `gamma / 2^{gamma}` is the share of attention that columns, diagonals, or pairs of blocks keep.
- `limit` is what a head's divergence must be below to be query-aware: 0 for never, and for a bound
  tau of the Jensen-Shannon distance `ceil(tau^2 * 2 / ln 2 * 2^{divergence})`.
- `fewest` and `most` are how many columns, and how many diagonals, are taken at least and at most.

Each head has a record of eight words of 32 bits, {record} bytes apart: bit 0 of word 0 says that it
is query-aware, bits 1 to 3 that all columns, diagonals, pairs weigh the same, so that lower numbers
decide; word 1 is the divergence, words 2 to 4 are how many columns, diagonals, pairs are taken,
word 5 the blocks of a sequence.
"""

_PRODUCT = """
## Products of matrices

With `flags.gemm` a call is `y = round(x w^T factor)`, of activations x (M, K) and weights w (N, K),
int8 all of them; results beyond int8 are clipped. `n_q` is M, `n_kv` is N, `chunks` is
K / head_dim, `heads` is N / head_dim. Of a matrix, head_dim columns each are a head of a tensor: x
is `chunks` heads of queries, w `chunks` heads of keys, y `heads` heads of outputs. So outputs lie
as the activations of a next product do. Factors are of each group of head_dim output channels,
`mantissa / 2^(shift + 13)`. `kv_heads` is `heads` divided by the number of groups that are computed
side by side; it decides what moves how often, not what comes out. Other flags are 0, and pointers
to values are not followed.
"""
