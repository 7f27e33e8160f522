"""Copies of modules whose source says something else in some places."""

from pathlib import Path
from types import ModuleType

__all__ = ["altered"]


def altered(module: ModuleType, *changes: tuple[str, str]) -> ModuleType:
    """Return a copy of a module, with the second text of each change in place of the first one.

    The copy has a name of its own; the module stays as it is.
    """
    source = Path(module.__file__).read_text()
    for old, new in changes:
        assert source.count(old) == 1, f"{module.__name__} has {old!r} {source.count(old)} times"
        source = source.replace(old, new)
    copy = ModuleType(f"{module.__name__}_altered")
    copy.__package__ = module.__package__
    exec(compile(source, f"<{copy.__name__}>", "exec"), copy.__dict__)
    return copy
