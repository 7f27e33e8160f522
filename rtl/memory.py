"""What memories are made of."""

__all__ = ["MEMORIES", "check_memory", "memory_attributes"]

MEMORIES = ("auto", "block", "ultra")
"""What synthesis finds best, block RAM, or UltraRAM."""


def check_memory(memory: str) -> None:
    """Refuse what is no kind of memory.

    Raises
    ------
    ValueError
        When it is unknown.
    """
    if memory not in MEMORIES:
        raise ValueError(f"Memory must be one of {', '.join(map(repr, MEMORIES))}, not {memory!r}")


def memory_attributes(memory: str) -> dict[str, str]:
    """Check a kind of memory, and return the attributes that ask synthesis for it."""
    check_memory(memory)
    return {} if memory == "auto" else {"ram_style": memory}
