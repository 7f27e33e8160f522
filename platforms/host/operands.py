"""What a call is given: operands and factors checked, and buffers for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...rtl.lane.numerics import Numerics
from ...tb.errors import InputError
from ...tb.quantize import Int8s
from .buffer import Buffer
from .device import Device

__all__ = ["Ints", "as_factors", "call_memory", "check_operand"]

Ints = NDArray[np.int64]


@contextmanager
def call_memory(device: Device) -> Iterator[Callable[[int, NDArray[Any]], Buffer]]:
    """Give a function that puts an array into a new buffer of a channel; free all in the end.

    Raises
    ------
    InputError
        When calls are on their way.
    """
    if device.queued:
        raise InputError(
            f"A device must have no calls on their way, and has {device.queued}; wait for them"
        )
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


def check_operand(name: str, x: Int8s, width: int) -> None:
    """Refuse what are not int8 arrays of numbers of ``width`` bits.

    Raises
    ------
    InputError
        With the range that there is.
    """
    if x.dtype != np.int8:
        raise InputError(f"{name} must be an array of int8, not of {x.dtype}; quantize it")
    if not 2 <= width <= 8:
        raise InputError(f"{name} must have 2 to 8 bits, not {width}; choose as many as it has")
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    if x.min() < low or x.max() > high:
        raise InputError(
            f"{name} must be {low} to {high}, numbers of {width} bits, not {x.min()} to {x.max()}; "
            "quantize it for this kernel"
        )


def as_factors(
    mantissa: ArrayLike, shift: ArrayLike, shape: tuple[int, ...], owner: str
) -> tuple[Ints, Ints]:
    """Return factors one behind the other, one of each ``owner``.

    Raises
    ------
    InputError
        When they are not integers of that shape, or too large.
    """
    found = []
    for name, given, width in (
        ("mantissa", mantissa, Numerics.mantissa_width),
        ("shift", shift, Numerics.shift_width),
    ):
        x = np.asarray(given)
        if x.shape != shape or not np.issubdtype(x.dtype, np.integer):
            raise InputError(
                f"{name} must be integers {shape}, one of each {owner}, not {x.dtype} {x.shape}"
            )
        if x.min() < 0 or x.max() >> width:
            raise InputError(f"{name} must be 0 to {(1 << width) - 1}, not {x.min()} to {x.max()}")
        found.append(x.reshape(-1).astype(np.int64))
    return found[0], found[1]
