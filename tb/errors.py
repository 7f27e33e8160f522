"""What can go wrong: an input is wrong, a tool missing, a run goes astray, an answer is wrong."""

from typing import Any

__all__ = ["AccessError", "CallError", "InputError", "MismatchError", "RunError", "ToolError"]


class InputError(ValueError):
    """An input that cannot be used: the message names the value, the rule and the remedy."""


class ToolError(RuntimeError):
    """A tool is missing, fails or does not answer; the message says what to do about it."""


class AccessError(RuntimeError):
    """A register of a kernel was not answered for, or with an error."""


class CallError(RuntimeError):
    """A kernel refused a call, did not finish it, or broke a rule of its buses.

    Members
    -------
    code : int
        What the kernel says of the call (:class:`~qkloom.rtl.kernel.code.Code`); 0 if nothing.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class RunError(AssertionError):
    """A simulated design broke a rule of streams, or did not finish.

    Members
    -------
    result : Result
        Of the run, as far as it went; see :mod:`qkloom.tb.engines`.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class MismatchError(RunError):
    """A simulated design delivered something other than was expected."""
