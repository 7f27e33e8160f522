"""qkloom: a chip description in, verified Verilog out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .gen.api import Chip, load

__all__ = ["Chip", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the generator on first use: ``qkloom.rtl`` alone does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .gen import api

    return getattr(api, name)
