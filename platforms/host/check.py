"""What a call must be to be computed: the rules of the kernel's intake, told before it starts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...rtl.index.numerics import IndexNumerics
from ...rtl.kernel.code import Code
from ...rtl.kernel.engine import TENSORS
from ...rtl.kernel.kernel import Kernel
from ...rtl.mover.selection import record_bytes
from ...tb.errors import InputError
from ...tb.kernel.image import n_bytes
from ...tb.kernel.index import INDEX
from ...tb.kernel.product import GEMM
from ...tb.kernel.task import SPARSE, row_bytes
from .buffer import Buffer
from .errors import RefusedError

__all__ = ["CAUSAL_FLAG", "TABLE_FLAG", "argument_channels", "check_call", "is_integer"]

CAUSAL_FLAG, TABLE_FLAG = 1 << 0, 1 << 1

_RULE = ("gamma", "limit", "fewest", "most")
"""What only index calls are told."""


def is_integer(value: Any) -> bool:
    """Return whether a value is a number that can be counted with: no ``True``, no ``8.0``."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def argument_channels(kernel: Kernel) -> dict[str, int]:
    """Return the memory channel of each argument that is a pointer."""
    channels = {
        f"{tensor}_{part}": channel
        for tensor in TENSORS
        for part, channel in enumerate(kernel.channels[tensor])
    }
    tables = kernel.channels["q"][0]
    names = [
        "factors",
        "table",
        *(["selection"] if kernel.parameters["sparse"] else []),
        *(["verdicts"] if kernel.parameters["index_tokens"] else []),
    ]
    return {**channels, **dict.fromkeys(names, tables)}


def check_call(kernel: Kernel, arguments: Mapping[str, Buffer | int]) -> None:
    """Refuse a call that the kernel would refuse, or that would leave its buffers.

    What a block table says is not looked at: blocks must lie within the buffers of keys and values.

    Parameters
    ----------
    kernel : Kernel
        Which is to compute it.
    arguments : mapping
        Buffers and numbers, by the names of registers; those that only some calls look at, such as
        ``table``, ``selection`` and ``chunks``, only if the flags ask for them.

    Raises
    ------
    InputError
        When an argument is missing, unknown, or of the wrong kind, channel or size.
    RefusedError
        When the kernel would say so.
    """
    if not isinstance(arguments, Mapping):
        raise InputError(
            f"A call must be a mapping from names of registers to buffers and numbers, "
            f"not {arguments!r}; see registers.md"
        )
    pointers = argument_channels(kernel)
    scalars = [r.name for r in kernel.arguments if r.name not in pointers]
    flags: Any = arguments.get("flags", 0)
    allowed = _flags(kernel)
    if not is_integer(flags) or not any(flags in some for some in allowed):
        listed = " or ".join(f"{some[0]} to {some[-1]}" for some in allowed)
        raise RefusedError(f"flags must be {listed}, not {flags!r}", Code.KIND)
    # Who asks for an argument
    of_flags = {"table": TABLE_FLAG, "selection": SPARSE | INDEX, "chunks": GEMM}
    of_flags |= dict.fromkeys(("verdicts", *_RULE), INDEX)
    needed = {*pointers, *scalars} - {name for name, flag in of_flags.items() if not flags & flag}
    if flags & INDEX:
        needed -= {name for name in pointers if name.startswith("o_")}
    if missing := sorted(needed - set(arguments)):
        raise InputError(f"A call must have the arguments {', '.join(missing)}; add them")
    if unknown := sorted(set(arguments) - {*pointers, *scalars}):
        raise InputError(
            f"A call must have no arguments but those of the kernel, and has {', '.join(unknown)}; "
            "see registers.md"
        )
    numbers: dict[str, int] = {}
    buffers: dict[str, Buffer] = {}
    for name, value in arguments.items():
        if name in pointers:
            if not isinstance(value, Buffer):
                raise InputError(f"{name} must be a buffer, not {value!r}; allocate one")
            if value.channel != pointers[name]:
                raise InputError(
                    f"{name} must be in memory channel {pointers[name]}, "
                    f"not {value.channel}; allocate it there"
                )
            buffers[name] = value
        elif isinstance(value, Buffer) or not is_integer(value):
            raise InputError(f"{name} must be an integer, not {value!r}; give a number")
        else:
            numbers[name] = int(value)
    _check_numbers(kernel, numbers)
    for name, size in _sizes(kernel, numbers).items():
        if buffers[name].size < size:
            raise InputError(
                f"{name} must be a buffer of at least {size:,} bytes for this call, "
                f"not {buffers[name].size:,}; allocate a larger one"
            )
    outputs = ["selection", "verdicts"] if flags & INDEX else []
    _check_apart(buffers, [name for name in buffers if name.startswith("o_")] + outputs)


def _flags(kernel: Kernel) -> list[range]:
    """Return what flags may be: a product goes with no others."""
    of_attention = CAUSAL_FLAG | TABLE_FLAG
    allowed = [range((GEMM if kernel.parameters["gemm"] else of_attention) + 1)]
    if kernel.parameters["sparse"]:
        allowed.append(range(SPARSE, (SPARSE | of_attention) + 1))
    if kernel.parameters["index_tokens"]:  # these are causal
        allowed.append(range(INDEX | CAUSAL_FLAG, (INDEX | of_attention) + 1, TABLE_FLAG))
    return allowed


def _check_numbers(kernel: Kernel, numbers: Mapping[str, int]) -> None:
    given = kernel.parameters
    heads, tokens, head_dim, size = (
        given[name] for name in ("heads", "tokens", "head_dim", "size")
    )
    bits: int = given["stream_width"]
    is_product, is_index = (bool(numbers["flags"] & flag) for flag in (GEMM, INDEX))
    most_queries, most_keys, block = tokens, tokens, given["block_rows"]
    of_rule: list[tuple[str, int, int, Code]] = []
    if is_index:
        most_queries, most_keys = min(block, tokens), given["index_tokens"]
        most = -(-most_keys // block)
        of_rule = [
            ("gamma", 0, 1 << IndexNumerics.gamma_fraction, Code.RULE),
            ("limit", 0, (1 << 32) - 1, Code.RULE),
            ("fewest", 0, most, Code.RULE),
            ("most", 1, most, Code.RULE),
        ]
    for name, low, high, code in (
        ("heads", 1, heads, Code.HEADS),
        ("kv_heads", 1, heads, Code.HEADS),
        ("n_q", 1, most_queries, Code.QUERIES),
        ("n_kv", 1, most_keys, Code.KEYS),
        ("q_start", -tokens, tokens, Code.START),
        (
            "head_dim",
            1,
            min(head_dim, given["block_rows"]) if is_product else head_dim,
            Code.HEAD_DIM,
        ),
        ("query_bits", 2, bits, Code.BITS),
        *([("chunks", 1, heads, Code.CHUNKS)] if is_product else []),
        *of_rule,
    ):
        if not low <= numbers[name] <= high:
            raise RefusedError(f"{name} must be {low} to {high}, not {numbers[name]}", code)
    if numbers["heads"] % numbers["kv_heads"]:
        raise RefusedError(
            f"heads must be a multiple of kv_heads, and {numbers['heads']} is none of "
            f"{numbers['kv_heads']}",
            Code.HEADS,
        )
    if numbers["q_start"] and not numbers["flags"] & CAUSAL_FLAG:
        raise RefusedError(
            f"q_start must be 0 without causal, not {numbers['q_start']}", Code.START
        )
    if numbers["head_dim"] % size:
        raise RefusedError(
            f"head_dim must be a multiple of {size}, not {numbers['head_dim']}", Code.HEAD_DIM
        )
    if is_product and numbers["n_kv"] != numbers["heads"] * numbers["head_dim"]:
        raise RefusedError(
            f"n_kv of a product must be heads * head_dim, its output channels, "
            f"{numbers['heads'] * numbers['head_dim']}, not {numbers['n_kv']}",
            Code.KEYS,
        )
    if is_index and numbers["q_start"] + numbers["n_q"] != numbers["n_kv"]:
        raise RefusedError(
            f"q_start of an index call must be n_kv - n_q, {numbers['n_kv'] - numbers['n_q']}, "
            f"not {numbers['q_start']}: it looks at the last queries",
            Code.START,
        )
    if is_index and numbers["fewest"] > numbers["most"]:
        raise RefusedError(
            f"fewest must be at most most, {numbers['most']}, not {numbers['fewest']}", Code.RULE
        )


def _sizes(kernel: Kernel, numbers: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes that a call reads and writes of each buffer, as far as numbers tell."""
    given, uses_table = kernel.parameters, numbers["flags"] & TABLE_FLAG
    sizes = {"factors": 8 * numbers["heads"]}
    if numbers["flags"] & SPARSE:
        n_rows = numbers["heads"] * -(-numbers["n_q"] // given["block_rows"])
        sizes["selection"] = n_rows * row_bytes(kernel)
    streams, holds = given["stream_width"], given["stationary_width"]
    tensors = [
        ("q", numbers["heads"], numbers["n_q"], streams),
        ("k", numbers["kv_heads"], numbers["n_kv"], holds),
        ("v", numbers["kv_heads"], numbers["n_kv"], holds),
        ("o", numbers["heads"], numbers["n_q"], 32),
    ]
    if numbers["flags"] & GEMM:
        tensors = [
            ("q", numbers["chunks"], numbers["n_q"], streams),
            ("k", numbers["chunks"], numbers["n_kv"], holds),
            ("o", numbers["heads"], numbers["n_q"], 8),
        ]
    if numbers["flags"] & INDEX:
        n_rows = numbers["heads"] * -(-numbers["n_kv"] // given["block_rows"])
        sizes["selection"] = n_rows * row_bytes(kernel)
        sizes["verdicts"] = numbers["heads"] * record_bytes(given["data_width"])
        # Values are all queries, where no table leads to.
        tensors = [*tensors[:2], ("v", numbers["heads"], numbers["n_kv"], holds)]
    paged = "k" if numbers["flags"] & INDEX else "kv"
    for tensor, heads, tokens, width in tensors:
        if tensor in paged and uses_table:
            sizes["table"] = 4 * heads * -(-tokens // given["block_rows"])
            continue
        parts = n_bytes(
            heads=heads,
            tokens=tokens,
            head_dim=numbers["head_dim"],
            block=given["block_rows"],
            n_channels=len(kernel.channels[tensor]),
            width=width,
        )
        sizes |= {f"{tensor}_{part}": size for part, size in enumerate(parts)}
    return sizes


def _check_apart(buffers: Mapping[str, Buffer], outputs: list[str]) -> None:
    for output in outputs:
        for name, buffer in buffers.items():
            if name != output and buffer.overlaps(buffers[output]):
                mine, theirs = (f"{b.offset:,} to {b.end - 1:,}" for b in (buffers[output], buffer))
                raise RefusedError(
                    f"{output} must share no byte with another argument, and does with {name}: "
                    f"bytes {mine} and {theirs} of one allocation",
                    Code.OVERLAP,
                )
