"""What can go wrong between a program and a device, and what to do about it."""

from ...rtl.kernel.code import Code
from ...tb.errors import CallError, InputError

__all__ = ["REMEDIES", "DeviceError", "LaunchError", "LaunchTimeoutError", "RefusedError"]

REMEDIES = {
    Code.HEADS: "choose heads as a multiple of kv_heads, within what the chip is made for",
    Code.QUERIES: "cut the queries, or describe a chip for longer sequences",
    Code.KEYS: "cut the keys, or describe a chip for longer sequences",
    Code.START: "count positions from the first key, and choose causal",
    Code.HEAD_DIM: "pad rows with zeros to whole tiles, or describe a chip for longer ones",
    Code.BITS: "choose as many bits as the queries have",
    Code.ALIGNMENT: "use buffers as they are allocated",
    Code.OVERLAP: "give the outputs buffers of their own",
    Code.KIND: "choose other flags",
    Code.CHUNKS: "cut the inner dimension, or describe a chip for more heads",
    Code.RULE: "choose gamma up to 1, and budgets within the blocks that the chip can select from",
    Code.SLVERR: "reset the device, since the next calls fail too; do the buffers still exist?",
    Code.DECERR: "reset the device, since the next calls fail too; is there such memory?",
    Code.TIMEOUT: "reset the device",
    Code.CHANGED: "reset the device, and leave a call's selection alone until the call has ended",
}
"""What helps against each code, in words."""


class DeviceError(RuntimeError):
    """A device that cannot be opened, was closed, or does not do what it must."""


class RefusedError(InputError):
    """A call that the kernel would refuse: it was not started.

    Members
    -------
    code : Code
        What the kernel would have said.
    """

    def __init__(self, rule: str, code: Code) -> None:
        super().__init__(f"{rule} (code {code.value}, {code.name}); {REMEDIES[code]}")
        self.code = code


class LaunchError(CallError):
    """A call that ended without results.

    Members
    -------
    code : int
        The kernel's :class:`~qkloom.rtl.kernel.code.Code`; 0 where the platform says it otherwise.
    """

    @classmethod
    def of(cls, code: Code) -> "LaunchError":
        """Say what the kernel says."""
        return cls(f"The kernel ended the call with {code.text}; {REMEDIES[code]}", code)


class LaunchTimeoutError(TimeoutError):
    """A call that was not done in time; unless the message says otherwise, it goes on.

    Members
    -------
    seconds : float
        How long it was waited for.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
