"""RTLIL to Verilog, through the Yosys that comes with Amaranth."""

import tempfile
from pathlib import Path

from ..tb.yosys import run_yosys

__all__ = ["to_verilog"]

SCRIPT = "; ".join(
    [
        "read_rtlil design.il",
        # Multiplexers instead of processes, which the clean-up below would have to skip.
        "proc -noopt -norom",
        "memory_collect",
        # Amaranth writes an expression once per use, and a wire per alias and per array element.
        "opt_merge",
        "opt_clean -purge",
        # Attributes that a component asks for (ram_style, keep) stay.
        "attrmap -modattr -remove generator -remove top",
        "attrmap -remove unused_bits -remove full_case",
        "write_verilog design.v",
    ]
)


def to_verilog(rtlil: str) -> str:
    """Return the Verilog-2005 of a design, one module for each of its modules.

    Raises
    ------
    ToolError
        When Yosys is missing or refuses the design.
    """
    with tempfile.TemporaryDirectory(prefix="qkloom-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil, encoding="utf-8")
        run_yosys(SCRIPT, cwd=folder)
        return (folder / "design.v").read_text(encoding="utf-8")
