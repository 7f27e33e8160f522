"""Attention on a device: tensors into its memory, a call, outputs back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...rtl.kernel.kernel import Kernel
from ...rtl.lane.numerics import Numerics
from ...tb.errors import InputError
from ...tb.kernel.image import factor_table, from_channels, n_bytes, to_channels
from ...tb.quantize import Int8s
from ...tb.tensors import check_shapes
from .buffer import Buffer
from .check import CAUSAL_FLAG, TABLE_FLAG
from .device import Device, Status
from .errors import DeviceError

__all__ = ["attention", "kernel_numerics"]

_UNWRITTEN = -(1 << 31)
"""No output: those have 24 bits."""

Ints = NDArray[np.int64]


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
    shape = check_shapes(q, k, v)
    if device.queued:
        raise InputError(
            f"A device must have no calls on their way, and has {device.queued}; wait for them"
        )
    bits = given["stream_width"] if query_bits is None else query_bits
    padding = -shape.head_dim % given["size"]
    folded = {
        name: _fold(name, x, width, padding)
        for name, x, width in (
            ("q", q, bits),
            ("k", k, given["stationary_width"]),
            ("v", v, given["stationary_width"]),
        )
    }
    heads, kv_heads = len(folded["q"]), len(folded["k"])
    head_dim = shape.head_dim + padding
    table = None if places is None else _table(places, kv_heads * -(-shape.n_kv // block))
    factors = factor_table(*_factors(mantissa, shift, q.shape[:-2]))
    with _memory(device) as place:
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
        arguments |= {
            "flags": CAUSAL_FLAG * bool(causal) | TABLE_FLAG * (table is not None),
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


@contextmanager
def _memory(device: Device) -> Iterator[Callable[[int, NDArray[Any]], Buffer]]:
    """Give a function that puts an array into a new buffer; free all of them in the end."""
    taken: list[Buffer] = []

    def place(channel: int, content: NDArray[Any]) -> Buffer:
        # A part of a small tensor may be empty, and still needs an address.
        taken.append(device.allocate(channel, max(1, content.nbytes)))
        device.write(taken[-1], content)
        return taken[-1]

    try:
        yield place
    finally:
        if device.queued:  # nobody waits for it any more
            device.reset()
        for buffer in taken:
            device.free(buffer)


def _fold(name: str, x: Int8s, width: int, padding: int) -> Int8s:
    """Join batch and heads, and pad rows with zeros, which add nothing to any sum."""
    if x.dtype != np.int8:
        raise InputError(f"{name} must be an array of int8, not of {x.dtype}; quantize it")
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    if x.min() < low or x.max() > high:
        raise InputError(
            f"{name} must be {low} to {high}, numbers of {width} bits, not {x.min()} to {x.max()}; "
            "quantize it for this kernel"
        )
    return np.pad(x.reshape(-1, *x.shape[-2:]), ((0, 0), (0, 0), (0, padding)))


def _factors(mantissa: ArrayLike, shift: ArrayLike, shape: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Return factors by head."""
    found = []
    for name, given, width in (
        ("mantissa", mantissa, Numerics.mantissa_width),
        ("shift", shift, Numerics.shift_width),
    ):
        x = np.asarray(given)
        if x.shape != shape or not np.issubdtype(x.dtype, np.integer):
            raise InputError(
                f"{name} must be integers {shape}, one of each query head, not {x.dtype} {x.shape}"
            )
        if x.min() < 0 or x.max() >> width:
            raise InputError(f"{name} must be 0 to {(1 << width) - 1}, not {x.min()} to {x.max()}")
        found.append(x.reshape(-1).astype(np.int64))
    return found[0], found[1]


def _table(places: ArrayLike, n_blocks: int) -> Ints:
    table = np.asarray(places)
    if not np.issubdtype(table.dtype, np.integer) or table.size != n_blocks:
        raise InputError(
            f"places must be {n_blocks} integers, one of each block of keys and values, "
            f"not {table.size} of {table.dtype}"
        )
    table = table.reshape(-1).astype(np.int64)
    if table.min() < 0 or len(set(table.tolist())) != n_blocks:
        raise InputError("places must be different, and at least 0; give each block its own")
    return table
