"""What can go wrong outside a design: a tool that is missing or fails."""

__all__ = ["ToolError"]


class ToolError(RuntimeError):
    """A tool is missing, fails or does not answer; the message says what to do about it."""
