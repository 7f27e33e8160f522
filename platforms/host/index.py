"""Selections on a device: queries and keys into its memory, which KV blocks matter back."""

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.mover.selection import record_bytes
from ...tb.attention import Bools
from ...tb.errors import InputError
from ...tb.index.exact import CoverageRule
from ...tb.kernel.image import factor_table, to_channels
from ...tb.kernel.index import HeadResult, index_numbers, read_records, read_selection
from ...tb.kernel.task import row_bytes
from ...tb.quantize import Int8s
from ...tb.tensors import check_shapes
from .backend import Status
from .buffer import Buffer
from .device import Device
from .operands import as_factors, as_int8, block_table, call_memory, fold

__all__ = ["select_blocks"]


def select_blocks(
    device: Device,
    q: Int8s,
    k: Int8s,
    mantissa: ArrayLike,
    shift: ArrayLike,
    *,
    rule: CoverageRule | None = None,
    query_bits: int | None = None,
    places: ArrayLike | None = None,
    timeout: float | None = None,
) -> tuple[Bools, list[HeadResult], Status]:
    """Find out which KV blocks each query block needs, in causal attention of all tokens to all.

    Parameters
    ----------
    device : Device
        Where; no other calls on their way.
    q : int8 array (heads, tokens, head_dim)
        Queries, and ``k`` keys with as many tokens; as of :func:`~.attention.attention`.
    mantissa, shift : (heads,) array_like of int
        Score factor of each query head.
    rule : CoverageRule, optional
        What is asked for; its defaults if absent.
    query_bits, places, timeout
        As of :func:`~.attention.attention`.

    Returns
    -------
    selection : bool array (heads, blocks, blocks)
        What :func:`~.attention.attention` takes as ``block_mask``.
    heads : list of HeadResult
        What is known of each head.
    status : Status
        Of the call.

    Raises
    ------
    InputError
        When the arrays are no such call, or one that the kernel is too small for.
    LaunchError, LaunchTimeoutError
        As :meth:`Device.wait` says.
    """
    kernel = device.kernel
    given, channels = kernel.parameters, kernel.channels
    most = given["index_tokens"]
    if not most:
        raise InputError(
            f'{device.name} selects no blocks; generate a chip with index = "coverage"'
        )
    q, k = as_int8("q", q), as_int8("k", k)
    shape = check_shapes(q, k, k)
    if shape.n_q != shape.n_kv:
        raise InputError(
            f"q and k must have the same number of tokens, not {shape.n_q} and {shape.n_kv}: "
            "blocks are selected for all of them"
        )
    if shape.n_kv > most:
        raise InputError(
            f"q and k must have at most {most:,} tokens, which {device.name} can select from, "
            f"not {shape.n_kv:,}; describe a chip with a larger index.tokens"
        )
    bits = given["stream_width"] if query_bits is None else query_bits
    padding = -shape.head_dim % given["size"]
    queries, keys = fold("q", q, bits, padding), fold("k", k, given["stationary_width"], padding)
    block, heads, tokens = given["block_rows"], len(queries), shape.n_kv
    rows, blocks = min(block, tokens), -(-tokens // block)
    table = None
    if places is not None:
        of_block = block * queries.shape[-1] * given["stationary_width"] // 8
        room = device.channel_bytes // of_block * len(channels["k"])
        table = block_table(places, len(keys) * blocks, room)
    with call_memory(device) as place:
        arguments: dict[str, Buffer | int] = {}
        for name, x in (("q", queries[:, -rows:]), ("k", keys), ("v", queries)):
            parts = to_channels(
                x,
                block=block,
                n_channels=len(channels[name]),
                width=given["stream_width"],
                places=table if name == "k" else None,
            )
            for number, (channel, part) in enumerate(zip(channels[name], parts, strict=True)):
                arguments[f"{name}_{number}"] = place(channel, part)
        tables = channels["q"][0]
        factors = factor_table(*as_factors(mantissa, shift, q.shape[:-2], "query head"))
        arguments["factors"] = place(tables, factors)
        if table is not None:
            arguments["table"] = place(tables, table.astype("<u4"))
        row, record = row_bytes(kernel), record_bytes(given["data_width"])
        selection = place(tables, np.zeros(heads * blocks * row, np.uint8))
        verdicts = place(tables, np.zeros(heads * record, np.uint8))
        arguments |= {"selection": selection, "verdicts": verdicts}
        arguments |= index_numbers(
            queries,
            keys,
            block=block,
            rule=rule or CoverageRule(),
            query_bits=bits,
            paged=table is not None,
        )
        device.launch(arguments)
        status = device.wait(timeout)
        content, records = (device.read(buffer) for buffer in (selection, verdicts))
    found = read_selection(content[: heads * blocks * row], heads, blocks, row)
    return found, read_records(records[: heads * record], heads), status
