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
from .check import is_integer
from .device import Device
from .errors import LaunchTimeoutError

__all__ = ["Ints", "as_factors", "as_int8", "block_table", "call_memory", "check_operand", "fold"]

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
    except LaunchTimeoutError as error:
        raise LaunchTimeoutError(
            f"The call was not done in {error.seconds:g} seconds, and the device was reset; "
            "try again with a longer timeout, or with none",
            error.seconds,
        ) from None
    finally:
        if device.queued:  # nobody waits for it any more
            device.reset()
        for buffer in taken:
            device.free(buffer)


def as_int8(name: str, x: Any) -> Int8s:
    """Return an array of int8.

    Raises
    ------
    InputError
        When it is none.
    """
    given = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
    if not isinstance(x, np.ndarray) or x.dtype != np.int8:
        raise InputError(f"{name} must be a NumPy array of int8, not of {given}; quantize it")
    return x


def check_operand(name: str, x: Int8s, width: Any) -> None:
    """Refuse numbers of more than ``width`` bits.

    Raises
    ------
    InputError
        With the range that there is.
    """
    if not is_integer(width) or not 2 <= width <= 8:
        raise InputError(f"{name} must have 2 to 8 bits, not {width!r}; choose as many as it has")
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
        try:
            x = np.asarray(given)
        except ValueError:  # rows of different lengths
            x = np.empty(0, object)
        if x.shape != shape or not np.issubdtype(x.dtype, np.integer):
            raise InputError(
                f"{name} must be integers {shape}, one of each {owner}, not {x.dtype} {x.shape}; "
                "qkloom.tb.quantize.encode_factor makes both of a number"
            )
        if x.min() < 0 or x.max() >> width:
            raise InputError(
                f"{name} must be 0 to {(1 << width) - 1}, not {x.min()} to {x.max()}; "
                "qkloom.tb.quantize.encode_factor makes both of a number"
            )
        found.append(x.reshape(-1).astype(np.int64))
    return found[0], found[1]


def fold(name: str, x: Int8s, width: int, padding: int) -> Int8s:
    """Join batch and heads, and pad rows with zeros, which add nothing to any sum.

    Raises
    ------
    InputError
        As :func:`check_operand` says.
    """
    check_operand(name, x, width)
    return np.pad(x.reshape(-1, *x.shape[-2:]), ((0, 0), (0, 0), (0, padding)))


def block_table(places: ArrayLike, n_blocks: int, room: int) -> Ints:
    """Return a block table as numbers.

    Raises
    ------
    InputError
        When it is none of so many blocks, or says that one is where there is no memory.
    """
    try:
        table = np.asarray(places)
    except ValueError:  # rows of different lengths
        table = np.empty(0, object)
    if not np.issubdtype(table.dtype, np.integer) or table.size != n_blocks:
        raise InputError(
            f"places must be {n_blocks} integers, one of each block of keys and values, "
            f"not {table.size} of {table.dtype}; count blocks head by head"
        )
    table = table.reshape(-1).astype(np.int64)
    if table.min() < 0 or len(set(table.tolist())) != n_blocks:
        raise InputError("places must be different, and at least 0; give each block its own")
    if table.max() >= room:
        raise InputError(
            f"places must be below {room:,}, as many blocks as the memory of the device has room "
            f"for, not {table.max():,}; use lower ones"
        )
    return table
