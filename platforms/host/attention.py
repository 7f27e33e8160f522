"""Attention on a device: tensors into its memory, a call, outputs back."""

from dataclasses import fields

import numpy as np
from numpy.typing import ArrayLike

from ...rtl.kernel.kernel import Kernel
from ...rtl.lane.numerics import Numerics
from ...tb.errors import InputError
from ...tb.kernel.image import (
    factor_table,
    from_channels,
    n_bytes,
    selection_rows,
    to_channels,
)
from ...tb.kernel.task import SPARSE, row_bytes
from ...tb.quantize import Int8s
from ...tb.selection import as_block_mask
from ...tb.tensors import check_shapes
from .backend import Status
from .buffer import Buffer
from .check import CAUSAL_FLAG, TABLE_FLAG
from .device import Device
from .errors import DeviceError
from .operands import Ints, as_factors, as_int8, block_table, call_memory, fold

__all__ = ["attention", "kernel_numerics"]

_UNWRITTEN = -(1 << 31)
"""No output: those have 24 bits."""


def kernel_numerics(kernel: Kernel) -> Numerics:
    """Return the number formats of a kernel's lanes."""
    return Numerics(**{field.name: kernel.parameters[field.name] for field in fields(Numerics)})


def attention(
    device: Device,
    q: Int8s,
    k: Int8s,
    v: Int8s,
    mantissa: ArrayLike,
    shift: ArrayLike,
    *,
    causal: bool = False,
    q_start: int = 0,
    query_bits: int | None = None,
    places: ArrayLike | None = None,
    block_mask: ArrayLike | None = None,
    timeout: float | None = None,
) -> tuple[Ints, Status]:
    """Compute attention on quantized tensors.

    Parameters
    ----------
    device : Device
        Where; no other calls on their way.
    q : int8 array (heads, n_q, head_dim) or (batch, heads, n_q, head_dim)
        Queries. :func:`qkloom.tb.quantize.quantize` makes all of these arrays.
    k, v : int8 arrays
        Keys and values; they may have fewer heads than ``q``, and another number of tokens.
    mantissa, shift : (heads,) or (batch, heads) array_like of int
        Score factor of each query head, ``mantissa / 2**shift``.
    causal : bool
        Let query ``i`` see keys up to ``q_start + i`` only.
    q_start : int
        Position of the first query among the keys.
    query_bits : int, optional
        Bits that queries have; by default as many as the kernel takes.
    places : array_like of int, optional
        Number in memory of each block of keys and values, head by head: the block table. By default
        blocks lie one behind the other.
    block_mask : array_like of bool, optional
        A selection: which block of keys each block of queries attends to, beside ``causal``.
        (heads, query blocks, KV blocks), with batch in front if the tensors have it, or what
        broadcasts to that. Queries that are left with nothing give zeros. The chip has
        ``sparse = true``.
    timeout : float, optional
        Seconds, as of :meth:`Device.wait`. The device is reset when they are over.

    Returns
    -------
    output : int64 array, shaped as ``q``
        In units of ``2**-16`` of the values' scale.
    status : Status
        Of the call.

    Raises
    ------
    InputError
        When the arrays are no such call, or one that the kernel is too small for.
    LaunchError, LaunchTimeoutError
        As :meth:`Device.wait` says.
    DeviceError
        When the kernel did not write all outputs.
    """
    kernel = device.kernel
    given, channels = kernel.parameters, kernel.channels
    block: int = given["block_rows"]
    q, k, v = (as_int8(name, x) for name, x in (("q", q), ("k", k), ("v", v)))
    shape = check_shapes(q, k, v)
    mask = None
    if block_mask is not None:
        if not given["sparse"]:
            raise InputError(
                f"{device.name} takes no block_mask; generate a chip with sparse = true"
            )
        mask = as_block_mask(block_mask, block, shape)
    bits = given["stream_width"] if query_bits is None else query_bits
    padding = -shape.head_dim % given["size"]
    folded = {
        name: fold(name, x, width, padding)
        for name, x, width in (
            ("q", q, bits),
            ("k", k, given["stationary_width"]),
            ("v", v, given["stationary_width"]),
        )
    }
    heads, kv_heads = len(folded["q"]), len(folded["k"])
    head_dim = shape.head_dim + padding
    n_blocks = kv_heads * -(-shape.n_kv // block)
    of_block = block * head_dim * given["stationary_width"] // 8
    room = device.channel_bytes // of_block * min(len(channels["k"]), len(channels["v"]))
    table = None if places is None else block_table(places, n_blocks, room)
    factors = factor_table(*as_factors(mantissa, shift, q.shape[:-2], "query head"))
    with call_memory(device) as place:
        arguments: dict[str, Buffer | int] = {}
        for name, x in folded.items():
            parts = to_channels(
                x,
                block=block,
                n_channels=len(channels[name]),
                width=given["stream_width" if name == "q" else "stationary_width"],
                places=None if name == "q" else table,
            )
            for number, (channel, part) in enumerate(zip(channels[name], parts, strict=True)):
                arguments[f"{name}_{number}"] = place(channel, part)
        sizes = n_bytes(
            heads=heads,
            tokens=shape.n_q,
            head_dim=head_dim,
            block=block,
            n_channels=len(channels["o"]),
            width=32,
        )
        outputs = [
            place(channel, np.full(size // 4, _UNWRITTEN, np.int32))
            for channel, size in zip(channels["o"], sizes, strict=True)
        ]
        arguments |= {f"o_{number}": buffer for number, buffer in enumerate(outputs)}
        arguments["factors"] = place(channels["q"][0], factors)
        if table is not None:
            arguments["table"] = place(channels["q"][0], table.astype("<u4"))
        flags = CAUSAL_FLAG * bool(causal) | TABLE_FLAG * (table is not None)
        if mask is not None:
            rows = selection_rows(mask, row_bytes(kernel))
            arguments["selection"] = place(channels["q"][0], rows)
            flags |= SPARSE
        arguments |= {
            "flags": flags,
            "heads": heads,
            "kv_heads": kv_heads,
            "n_q": shape.n_q,
            "n_kv": shape.n_kv,
            "q_start": q_start,
            "head_dim": head_dim,
            "query_bits": bits,
        }
        device.launch(arguments)
        status = device.wait(timeout)
        stored = [device.read(b)[:size] for b, size in zip(outputs, sizes, strict=True)]
    result = from_channels(stored, heads=heads, tokens=shape.n_q, head_dim=head_dim, block=block)
    if missing := int((result == _UNWRITTEN).sum()):
        raise DeviceError(
            f"The kernel did not write {missing:,} of {result.size:,} outputs; reset the device, "
            "and see whether its memory answers"
        )
    return result[..., : shape.head_dim].reshape(q.shape), status
