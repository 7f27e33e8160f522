"""What a user got wrong, as one message."""

__all__ = ["InputError"]


class InputError(ValueError):
    """An input that cannot be used: the message names the value, the rule and the remedy."""
