"""A kernel on an Alveo card, through XRT's Python module. Not tested on a card.

What is used of ``pyxrt`` is in its documentation (XRT Python Bindings, 2022.1): ``xclbin``,
``device``, ``kernel``, ``bo`` and ``run``. It has no access to registers. So nothing here can ask
the kernel whether a call failed, and why: calls that it would refuse are refused before they start,
and :func:`~.attention.attention` sees outputs that were not written.
"""

import importlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...rtl.kernel.kernel import Kernel
from ...tb.errors import InputError
from ...tb.kernel.image import CHANNEL_BYTES, Bytes
from .backend import Status
from .check import argument_channels
from .errors import DeviceError, LaunchError
from .folder import MANIFEST, read_folder

__all__ = ["Card"]

# The module may hold Python's lock while it waits: in slices, so that a program can be interrupted.
_SLICE_SECONDS = 0.1

_GOING_ON = ("NEW", "QUEUED", "RUNNING", "SUBMITTED", "TIMEOUT")
"""States of a run that may still be done; TIMEOUT is what ``wait`` says when its time is over."""


class Card:
    """A kernel on a card; a :class:`~.backend.Backend`. Not tested on a card.

    Parameters
    ----------
    path : path
        The ``.xclbin``.
    folder : path, optional
        The folder that ``qkloom generate`` wrote and Vitis made it of; by default the folder of the
        ``.xclbin`` or the one above, whichever has a manifest.
    index : int
        Which card.

    Members
    -------
    kernel : Kernel
        The kernel's parameters and registers.
    name : str
        ``xrt`` and the chip's name.

    Raises
    ------
    InputError
        When a file is missing, or the folder is not one of ours.
    DeviceError
        When ``pyxrt`` is missing, or XRT cannot use the card or the ``.xclbin``.
    """

    def __init__(self, path: str | Path, *, folder: str | Path | None = None, index: int = 0):
        binary = Path(path)
        if not binary.is_file():
            raise InputError(f"{binary} must be an .xclbin file; link one with `v++ --link`")
        described = read_folder(_folder_of(binary) if folder is None else folder)
        self.kernel: Kernel = described.kernel
        self.name = f"xrt {described.name}"
        # Numbered as in kernel.xml: by address.
        listed = sorted(self.kernel.arguments, key=lambda register: register.offset)
        self._numbers = {register.name: number for number, register in enumerate(listed)}
        # Any pointer into a channel says to XRT which memory that is.
        self._pointers = {c: name for name, c in argument_channels(self.kernel).items()}
        self._runs: deque[tuple[Any, Mapping[str, Any]]] = deque()
        self._xrt = _import_pyxrt()
        with _explained(f"open card {index}", "see `xbutil examine` for the cards that there are"):
            self._device = self._xrt.device(index)
        with _explained(f"load {binary}", "link it for the platform that the card has"):
            uuid = self._device.load_xclbin(self._xrt.xclbin(str(binary)))
            self._kernel = self._xrt.kernel(self._device, uuid, described.top)

    @property
    def channel_bytes(self) -> int:
        """Bytes of a memory channel."""
        return CHANNEL_BYTES

    def allocate(self, channel: int, size: int) -> Any:
        """Return a buffer object in the memory that a channel is connected to."""
        with _explained(f"allocate {size:,} bytes in channel {channel}", "free other buffers"):
            group = self._kernel.group_id(self._numbers[self._pointers[channel]])
            return self._xrt.bo(self._device, size, self._xrt.bo.normal, group)

    def part(self, handle: Any, offset: int, size: int) -> Any:
        """Return a buffer object that is a part of another."""
        with _explained(f"take {size:,} bytes of a buffer", "allocate a buffer for it"):
            return self._xrt.bo(handle, size, offset)

    def free(self, handle: Any) -> None:
        """Leave it to Python: XRT frees a buffer object when nothing refers to it any more."""

    def write(self, handle: Any, content: Bytes) -> None:
        """Write into the host's copy, and copy that to the card."""
        if not len(content):
            return
        direction = self._xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
        with _explained("write a buffer", "see `xbutil examine`"):
            handle.write(content, 0)
            handle.sync(direction, len(content), 0)

    def read(self, handle: Any, size: int) -> Bytes:
        """Copy from the card to the host's copy, and read that."""
        direction = self._xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE
        with _explained("read a buffer", "see `xbutil examine`"):
            handle.sync(direction, size, 0)
            return np.array(handle.read(size, 0)).view(np.uint8)

    def start(self, arguments: Mapping[str, Any]) -> None:
        """Start a run; XRT hands it to the kernel when that can take it."""
        with _explained("start a call", "see `xbutil examine`"):
            run = self._xrt.run(self._kernel)
            for name, value in arguments.items():
                run.set_arg(self._numbers[name], value)
            run.start()
        # The arguments stay, and so do their buffers, until the run is done.
        self._runs.append((run, arguments))

    def finish(self, timeout: float | None) -> Status | None:
        """Wait for the oldest run."""
        run, _ = self._runs[0]
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE_SECONDS if deadline is None else deadline - time.monotonic()
            # 0 milliseconds would be for ever.
            slice_ms = max(1, round(1000 * min(left, _SLICE_SECONDS)))
            with _explained("wait for a call", "see `xbutil examine`"):
                state = run.wait(slice_ms).name.removeprefix("ERT_CMD_STATE_")
            if state not in _GOING_ON:
                break
            if left <= 0:
                return None
        self._runs.popleft()
        if state != "COMPLETED":
            raise LaunchError(f"XRT ended the call with {state}; see `dmesg`, and reset the card")
        return Status(None, None)

    def reset(self) -> None:
        """Wait a moment for calls to end: ``pyxrt`` cannot end them.

        Raises
        ------
        DeviceError
            When they do not.
        """
        while self._runs:
            try:
                if self.finish(1.0) is None:
                    raise DeviceError(
                        "A call does not end, and pyxrt has no means to stop it; close the device, "
                        "run `xbutil reset`, and open it again"
                    )
            except LaunchError:
                continue  # it ended

    def close(self) -> None:
        """Let go of everything that XRT would free."""
        self._runs.clear()
        self._kernel = self._device = None


def _import_pyxrt() -> Any:
    try:
        return importlib.import_module("pyxrt")
    except ImportError as error:
        raise DeviceError(
            f"pyxrt cannot be imported ({error}); it comes with XRT: install that, source its "
            "setup.sh, and use the Python that it was built for. Without a card, open `sim`"
        ) from error


def _folder_of(binary: Path) -> Path:
    """Return the generated folder that a binary lies in: scripts make it in a folder of that."""
    above = binary.resolve().parent
    for folder in (above, above.parent):
        if (folder / MANIFEST).is_file():
            return folder
    raise InputError(
        f"{binary} must lie in the folder that `qkloom generate` wrote, and there is no {MANIFEST} "
        "beside or above it; name that folder (`folder=`)"
    )


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever XRT raises into one message."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise DeviceError(f"XRT could not {what}: {error}; {remedy}") from error
