"""What options of the command line mean."""

import math
from collections.abc import Mapping
from typing import Any

from ...tb.errors import InputError

__all__ = ["read_counts", "read_snrs", "refuse_given"]


def read_snrs(text: str, *, most: int | None = None) -> list[float | None]:
    """Return ratios of signal to noise in dB, of numbers with commas between; ``oracle`` is None.

    Raises
    ------
    InputError
        When it is something else, or more than ``most``.
    """
    snrs: list[float | None] = []
    for part in text.split(","):
        try:
            snrs.append(None if part.strip() == "oracle" else float(part))
        except ValueError:
            snrs.append(math.nan)
        if snrs[-1] is not None and not math.isfinite(snrs[-1]):
            raise InputError(f"--snr must be a number of dB or `oracle`, not {part!r}")
    if most is not None and len(snrs) > most:
        raise InputError(f"--snr must be one number unless there is a --task, not {text!r}")
    return snrs


def read_counts(text: str, option: str) -> list[int]:
    """Return positive integers, of a text with commas between.

    Raises
    ------
    InputError
        When it is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if wrong := [part for part in parts if not part.isdecimal() or not int(part)]:
        raise InputError(f"{option} must be numbers with commas between, not {wrong[0]!r}")
    return [int(part) for part in parts]


def refuse_given(option: str, others: Mapping[str, Any]) -> None:
    """Refuse options that do not go with ``option``.

    Raises
    ------
    InputError
        With those that are given.
    """
    if given := [name for name, value in others.items() if value is not None]:
        them = "it" if len(given) == 1 else "them"
        raise InputError(f"{option} goes without {' and '.join(given)}; leave {them} out")
