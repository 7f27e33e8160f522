"""Host runtime: a generated kernel on a card or in simulation, with the same calls.

The path to a card (``xrt``) was tested against a stand-in for ``pyxrt``, and not on a card.
"""

from .attention import attention, kernel_numerics
from .backend import Status
from .buffer import PAGE, Buffer
from .device import MAX_QUEUED, Device
from .errors import DeviceError, LaunchError, LaunchTimeoutError, RefusedError
from .gemm import gemm
from .index import select_blocks

__all__ = [
    "MAX_QUEUED",
    "PAGE",
    "Buffer",
    "Device",
    "DeviceError",
    "LaunchError",
    "LaunchTimeoutError",
    "RefusedError",
    "Status",
    "attention",
    "gemm",
    "kernel_numerics",
    "select_blocks",
]
