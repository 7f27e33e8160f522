"""Which KV blocks matter: selecting them by what they have of the attention."""

from .code import CodeDecoder, CodeEncoder, code_width
from .selector import CoverageSelector

__all__ = ["CodeDecoder", "CodeEncoder", "CoverageSelector", "code_width"]
