"""A kernel as a program uses it: on a card, or in simulation."""

import functools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...rtl.kernel.kernel import Kernel
from ...tb.errors import InputError
from ...tb.kernel.image import Bytes
from .backend import Backend, Status
from .buffer import PAGE, Buffer
from .check import check_call, is_integer
from .errors import DeviceError, LaunchTimeoutError

__all__ = ["MAX_QUEUED", "Device"]

MAX_QUEUED = 4
"""Calls that may wait or run: as many as the kernel holds."""

PLATFORMS = ("sim", "xrt")

_ALLOCATIONS = count()
"""Numbers of allocations, of all devices of a program: so nobody takes another device's for its."""


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _alone(
    method: Callable[Concatenate["Device", _P], _R],
) -> Callable[Concatenate["Device", _P], _R]:
    """Let one thread at a time use a device: others are told, at once."""

    @functools.wraps(method)
    def wrapped(self: "Device", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not self._lock.acquire(blocking=False):
            raise DeviceError(
                f"`{method.__name__}` must not be called while another thread uses the device; "
                "let one thread do it all, or wait for the other one"
            )
        try:
            return method(self, *args, **kwargs)
        finally:
            self._lock.release()

    return wrapped


class Device:
    """A kernel with its memory; close it after use, or use it as a context manager.

    One thread at a time: who comes while another one is in a call of the device is told so
    (:class:`~.errors.DeviceError`).

    ::

        with Device.open("sim", folder) as device:
            buffer = device.allocate(channel, size)
            device.write(buffer, array)
            device.launch({"q_0": buffer, ..., "n_q": 16, ...})
            device.wait(timeout=10)
            array = device.read(other)

    :func:`~qkloom.platforms.host.attention.attention` does all this for a call of attention.

    Parameters
    ----------
    backend : Backend
        The platform.
    kernel : Kernel
        What it runs.
    name : str
        Of the platform, for people.

    Members
    -------
    kernel, name
        As given.
    """

    def __init__(self, backend: Backend, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name
        self._backend = backend
        self._allocated: dict[int, Buffer] = {}
        self._lock = threading.RLock()
        self._queue: deque[tuple[Buffer, ...]] = deque()
        self._is_closed = False

    @classmethod
    def open(cls, platform: str, path: str | Path, **options: Any) -> "Device":
        """Open a device.

        Parameters
        ----------
        platform : str
            ``sim`` or ``xrt``.
        path : path
            ``sim``: the folder that ``qkloom generate`` wrote. ``xrt``: the ``.xclbin`` that Vitis
            linked of it.
        **options
            ``sim``: those of :class:`~qkloom.platforms.host.sim.Simulated`. ``xrt``: those of
            :class:`~qkloom.platforms.host.xrt.Card`.

        Raises
        ------
        InputError
            When there is no such platform, or the path is not what it must be.
        DeviceError
            When the card, its driver or ``pyxrt`` is missing.
        ToolError
            When the simulator cannot be built.
        """
        # A program for a card needs no simulators, and one for a simulator no card.
        if platform == "sim":
            from .sim import Simulated

            simulated = Simulated(path, **options)
            return cls(simulated, simulated.kernel, simulated.name)
        if platform == "xrt":
            from .xrt import Card

            card = Card(path, **options)
            return cls(card, card.kernel, card.name)
        raise InputError(f"A platform must be one of {', '.join(PLATFORMS)}, not {platform!r}")

    @property
    def channel_bytes(self) -> int:
        """Bytes of a memory channel."""
        return self._backend.channel_bytes

    @property
    def queued(self) -> int:
        """Calls that were launched and not waited for."""
        return len(self._queue)

    @_alone
    def allocate(self, channel: int, size: int) -> Buffer:
        """Return new memory: what it holds is not defined.

        Parameters
        ----------
        channel : int
            Memory channel, of those that the kernel has.
        size : int
            Bytes; the first one has an address that is a multiple of :data:`PAGE`.

        Raises
        ------
        InputError
            When there is no such channel, or the size is 0 or too large.
        """
        self._check_open()
        n_channels = self.kernel.n_channels
        if not is_integer(channel) or not 0 <= channel < n_channels:
            raise InputError(
                f"Channel must be 0 to {n_channels - 1}, not {channel!r}; see Kernel.channels"
            )
        most = self._backend.channel_bytes
        if not is_integer(size) or not 1 <= size <= most:
            raise InputError(
                f"Size must be 1 to {most:,} bytes, as many as a channel has, not {size!r}"
            )
        handle = self._backend.allocate(channel, size)
        buffer = Buffer(channel, size, 0, next(_ALLOCATIONS), handle)
        self._allocated[buffer.allocation] = buffer
        return buffer

    @_alone
    def part(self, buffer: Buffer, offset: int, size: int) -> Buffer:
        """Return a part of a buffer: a buffer that shares its bytes.

        Parameters
        ----------
        buffer : Buffer
            What it is a part of.
        offset : int
            First byte, a multiple of :data:`PAGE`.
        size : int
            Bytes.

        Raises
        ------
        InputError
            When the offset is not aligned, or the part is empty or reaches beyond the buffer.
        """
        self._check_own(buffer)
        if not is_integer(offset) or offset % PAGE:
            raise InputError(f"Offset must be a multiple of {PAGE} bytes, not {offset!r}")
        if not is_integer(size) or size < 1 or not 0 <= offset <= buffer.size - size:
            raise InputError(
                f"A part must be at least a byte of the {buffer.size:,} bytes of its buffer, "
                f"not {size!r} from {offset:,} on"
            )
        handle = self._backend.part(buffer.handle, offset, size)
        return Buffer(buffer.channel, size, buffer.offset + offset, buffer.allocation, handle)

    @_alone
    def free(self, buffer: Buffer) -> None:
        """Give a buffer back, with all its parts.

        Raises
        ------
        InputError
            When it is a part, was freed before, or a call may still use it.
        """
        self._check_own(buffer)
        whole = self._allocated[buffer.allocation]
        if whole is not buffer:
            raise InputError("A part must not be freed; free the buffer that it is a part of")
        self._check_unused(buffer, "freed")
        del self._allocated[buffer.allocation]
        self._backend.free(buffer.handle)

    @_alone
    def write(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Write an array into a buffer, from its first byte on.

        Parameters
        ----------
        buffer : Buffer
            Where to.
        array : array
            Its bytes are written in C order, and as this machine has them.

        Raises
        ------
        InputError
            When it is no array of numbers, or too large, or a call may still use the buffer.
        """
        self._check_own(buffer)
        content = _bytes_of(array)
        if len(content) > buffer.size:
            raise InputError(
                f"An array must fit into its buffer of {buffer.size:,} bytes, "
                f"and has {len(content):,}; allocate a larger one"
            )
        self._check_unused(buffer, "written")
        self._backend.write(buffer.handle, content)

    @_alone
    def read(self, buffer: Buffer, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Return what a buffer holds.

        Parameters
        ----------
        buffer : Buffer
            Where from.
        dtype : dtype
            What its bytes are; its size must divide that of the buffer.

        Raises
        ------
        InputError
            When it does not, or is no type of numbers, or a call may still write the buffer.
        """
        self._check_own(buffer)
        kind = _number_type(dtype)
        if buffer.size % kind.itemsize:
            raise InputError(
                f"A buffer that is read as {kind} must have a multiple of {kind.itemsize} bytes, "
                f"not {buffer.size:,}; read it as uint8"
            )
        self._check_unused(buffer, "read")
        return self._backend.read(buffer.handle, buffer.size).view(kind)

    @_alone
    def launch(self, arguments: Mapping[str, Buffer | int]) -> None:
        """Start a call; it runs when those before it are done.

        Parameters
        ----------
        arguments : mapping
            Buffers and numbers by the names of registers, as ``registers.md`` lists them;
            ``table`` and ``selection`` only if the flags ask for them.

        Raises
        ------
        InputError
            When an argument is not what it must be (:func:`~.check.check_call`), a buffer was
            freed, outputs would be written over what another call uses, or :data:`MAX_QUEUED`
            calls are on their way.
        """
        self._check_open()
        if self.queued >= MAX_QUEUED:
            raise InputError(
                f"At most {MAX_QUEUED} calls may be on their way; wait for one before the next"
            )
        check_call(self.kernel, arguments)
        buffers = {name: b for name, b in arguments.items() if isinstance(b, Buffer)}
        for name, buffer in buffers.items():
            self._check_own(buffer)
            if name.startswith("o_"):
                self._check_unused(buffer, "written")
        handles = {n: v.handle if isinstance(v, Buffer) else int(v) for n, v in arguments.items()}
        self._backend.start(handles)
        self._queue.append(tuple(buffers.values()))

    @_alone
    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the oldest call that was launched.

        Parameters
        ----------
        timeout : float, optional
            Seconds of real time, in simulation too; by default as long as it takes. A kernel whose
            memory does not answer ends a call by itself after some time.

        An error of the bus, and memory that did not answer, stay with the kernel: the calls behind
        end as this one did until the device is reset.

        Raises
        ------
        LaunchTimeoutError
            When it is not done by then. It goes on: wait again, or reset the device.
        LaunchError
            When it ended without results.
        InputError
            When there is no such call.
        """
        self._check_open()
        if timeout is not None and not (isinstance(timeout, _NUMBERS) and timeout >= 0):
            raise InputError(
                f"Timeout must be at least 0 seconds, not {timeout!r}; leave it out to wait "
                "until it is done"
            )
        if not self._queue:
            raise InputError("There must be a call to wait for; launch one")
        try:
            status = self._backend.finish(timeout)
        except BaseException as error:
            # Whoever presses a key stops waiting, not the call.
            if isinstance(error, Exception):
                self._queue.popleft()
            raise
        if status is None:
            assert timeout is not None
            raise LaunchTimeoutError(
                f"The call was not done in {timeout:g} seconds; wait again, or reset the device",
                timeout,
            )
        self._queue.popleft()
        return status

    @_alone
    def reset(self) -> None:
        """Drop all calls; buffers stay, and those that were outputs hold anything.

        Raises
        ------
        DeviceError
            When the platform cannot, with what to do instead.
        """
        self._check_open()
        self._backend.reset()
        self._queue.clear()

    @_alone
    def close(self) -> None:
        """Free everything; a device that is closed is good for nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._backend.close()

    def __enter__(self) -> "Device":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise DeviceError("The device was closed; open it again")

    def _check_own(self, buffer: Buffer) -> None:
        self._check_open()
        if not isinstance(buffer, Buffer):
            raise InputError(f"A buffer must come from `allocate` or `part`, not be {buffer!r}")
        whole = self._allocated.get(buffer.allocation)
        if whole is None or whole.channel != buffer.channel or whole.end < buffer.end:
            raise InputError(
                "A buffer must be allocated on this device, and is not, or was freed; allocate it"
            )

    def _check_unused(self, buffer: Buffer, done: str) -> None:
        if any(buffer.overlaps(used) for call in self._queue for used in call):
            raise InputError(
                f"A buffer must not be {done} while a call may use it; wait for the call first"
            )


_NUMBERS = (int, float, np.integer, np.floating)


def _bytes_of(array: Any) -> Bytes:
    """Return the bytes of an array of numbers."""
    try:
        given = np.asarray(array)
        _number_type(given.dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"What is written must be an array of numbers: {error}") from None
    content: Bytes = np.ascontiguousarray(given).reshape(-1).view(np.uint8)
    return content


def _number_type(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a type of numbers.

    Raises
    ------
    InputError
        When it is none.
    """
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError):
        kind = np.dtype(object)
    if kind.kind not in "biufcV" or not kind.itemsize:
        raise InputError(
            f"Elements must be of a type of numbers, such as int8 or '<i4', not of {dtype!r}"
        )
    return kind
