"""Which KV blocks attention needs: units that find out, by coverage or by forecast."""

from .code import CodeDecoder, CodeEncoder, code_width
from .selector import CoverageSelector

__all__ = ["CodeDecoder", "CodeEncoder", "CoverageSelector", "code_width"]
