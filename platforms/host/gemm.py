"""A product of matrices on a device: a linear layer on int8."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...tb.errors import InputError
from ...tb.gemm import Product, as_heads, from_heads
from ...tb.kernel.image import factor_table, from_channels, n_bytes, to_channels
from ...tb.kernel.product import best_side, product_numbers
from ...tb.quantize import Int8s
from .attention import kernel_numerics
from .backend import Status
from .buffer import Buffer
from .check import is_integer
from .device import Device
from .errors import DeviceError
from .operands import as_factors, as_int8, call_memory, check_operand

__all__ = ["gemm"]


def gemm(
    device: Device,
    x: Int8s,
    w: Int8s,
    mantissa: ArrayLike,
    shift: ArrayLike,
    *,
    head_dim: int | None = None,
    bits: int = 8,
    timeout: float | None = None,
) -> tuple[Int8s, Status]:
    """Compute ``x w^T``, times a factor, rounded to int8, bit for bit as the exact model does.

    That is :func:`qkloom.tb.gemm.exact_gemm`.

    Parameters
    ----------
    device : Device
        Where; no other calls on their way. Its chip has ``gemm = true``.
    x : int8 array (M, K)
        Activations.
    w : int8 array (N, K)
        Weights, as a linear layer keeps them.
    mantissa, shift : int, or (ceil(N / head_dim),) array_like of int
        Factor of all outputs, or of each group of ``head_dim`` channels:
        ``mantissa / 2**(shift + 13)``. :func:`qkloom.tb.quantize.encode_factor` with 13 makes both
        of a number. A shift beyond what lanes shift by is refused, with how much that is.
    head_dim : int, optional
        Columns that are worked on together, and channels of a group; by default as many as the
        kernel takes. K and N are filled up with zeros to whole ones.
    bits : int
        Bits that activations have, where the precision is a call's.
    timeout : float, optional
        Seconds, as of :meth:`Device.wait`. The device is reset when they are over.

    Returns
    -------
    output : int8 array (M, N)
        Beyond -128 to 127 results are clipped.
    status : Status
        Of the call.

    Raises
    ------
    InputError
        When the arrays are no such product, or one that the kernel is too small for.
    LaunchError, LaunchTimeoutError
        As :meth:`Device.wait` says.
    DeviceError
        When the kernel did not write all outputs.
    """
    kernel = device.kernel
    given, channels = kernel.parameters, kernel.channels
    block: int = given["block_rows"]
    if not given["gemm"]:
        raise InputError(f"{device.name} computes attention only; generate a chip with gemm = true")
    x, w = as_int8("x", x), as_int8("w", w)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1] or 0 in (*x.shape, *w.shape):
        raise InputError(
            f"x and w must be (M, K) and (N, K), of one K, not {x.shape} and {w.shape}; "
            "weights have a row for each output channel"
        )
    check_operand("x", x, bits)
    check_operand("w", w, given["stationary_width"])
    most = min(given["head_dim"], block)
    head_dim = most if head_dim is None else head_dim
    if not is_integer(head_dim) or not 0 < head_dim <= most or head_dim % given["size"]:
        raise InputError(
            f"head_dim must be a multiple of {given['size']} up to {most}, not {head_dim!r}; "
            "leave it out"
        )
    n_channels = len(w)
    x, w = _filled(x, head_dim, 1), _filled(_filled(w, head_dim, 1), head_dim, 0)
    groups = len(w) // head_dim
    mantissa, shift = as_factors(
        _spread(mantissa, groups), _spread(shift, groups), (groups,), "group of channels"
    )
    most_shift = (1 << kernel_numerics(kernel).exponent_width) - 1
    if shift.max() > most_shift:
        raise InputError(
            f"shift must be at most {most_shift}, not {shift.max()}: the lanes of this kernel "
            "shift no farther; use a larger factor"
        )
    product = Product(x, w, mantissa, shift, head_dim=head_dim, bits=bits)
    with call_memory(device) as place:
        arguments: dict[str, Buffer | int] = {}
        for name, matrix in (("q", as_heads(x, head_dim)), ("k", as_heads(w, head_dim))):
            parts = to_channels(matrix, block=block, n_channels=len(channels[name]))
            for number, (channel, part) in enumerate(zip(channels[name], parts, strict=True)):
                arguments[f"{name}_{number}"] = place(channel, part)
        for number, channel in enumerate(channels["v"]):  # there are none
            arguments[f"v_{number}"] = place(channel, np.zeros(0, np.int8))
        shape = {"heads": groups, "tokens": len(x), "head_dim": head_dim, "block": block}
        sizes = n_bytes(**shape, n_channels=len(channels["o"]), width=8)
        # No number is an output that cannot be. What keeps a whole row of these was not written.
        rng = np.random.default_rng()
        before = [rng.integers(0, 256, size, np.uint8) for size in sizes]
        outputs = [
            place(channel, part) for channel, part in zip(channels["o"], before, strict=True)
        ]
        arguments |= {f"o_{number}": buffer for number, buffer in enumerate(outputs)}
        arguments["factors"] = place(channels["q"][0], factor_table(mantissa, shift))
        arguments |= product_numbers(replace(product, side=best_side(kernel, product)))
        device.launch(arguments)
        status = device.wait(timeout)
        stored = [device.read(b)[:size] for b, size in zip(outputs, sizes, strict=True)]
    result, was = (from_channels(parts, **shape, width=8) for parts in (stored, before))
    if missing := int((result == was).all(axis=-1).sum()):
        raise DeviceError(
            f"The kernel did not write {missing:,} of {result.size // head_dim:,} rows of outputs; "
            "reset the device, and see whether its memory answers"
        )
    return from_heads(result)[:, :n_channels].astype(np.int8), status


def _filled(x: NDArray[Any], multiple: int, axis: int) -> NDArray[Any]:
    """Return an array with zeros up to a multiple on an axis: they add nothing to any sum."""
    padding = [(0, 0), (0, 0)]
    padding[axis] = (0, -x.shape[axis] % multiple)
    return np.pad(x, padding)


def _spread(factor: ArrayLike, groups: int) -> ArrayLike:
    return np.full(groups, factor) if np.ndim(factor) == 0 else factor
