"""RTLIL to Verilog, through the Yosys that comes with Amaranth."""

import re
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

_FIELD = re.compile(r"(?<=\\)[A-Za-z_]\w*(?:\.\w+|\[\d+\])+(?=\s)")
"""Name of the wire that Amaranth adds for a field or an element: ``payload.row[3]``."""

_ZEROS = re.compile(
    r"^  initial begin\n"
    r"    (?P<name>\w+)\[0\] = (?P<zero>\d+'[dh]0)0*;\n"
    r"(?:    (?P=name)\[(?P<last>\d+)\] = (?P=zero)0*;\n)*"
    r"  end\n",
    re.MULTILINE,
)
"""Initial contents of a memory that are zeros."""


def to_verilog(rtlil: str) -> str:
    """Return the Verilog-2005 of a design, one module for each of its modules.

    Fields of a signal get names that need no escape: ``payload.row[3]`` is ``payload__row__3``. A
    memory of zeros is filled by a loop, and not by a line for each row.

    Raises
    ------
    ToolError
        When Yosys is missing or refuses the design.
    """
    with tempfile.TemporaryDirectory(prefix="qkloom-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(_without_escapes(rtlil), encoding="utf-8")
        run_yosys(SCRIPT, cwd=folder)
        verilog = (folder / "design.v").read_text(encoding="utf-8")
    return _ZEROS.sub(_as_loop, verilog)


def _without_escapes(rtlil: str) -> str:
    """Name the wires of fields by words; one whose new name is somebody else's stays as it is."""
    owners = {name: name for name in re.findall(r"(?<=\\)\w+(?=\s)", rtlil)}

    def plain(found: re.Match[str]) -> str:
        name = re.sub(r"\W+", "__", found[0].replace("]", ""))
        return name if owners.setdefault(name, found[0]) == found[0] else found[0]

    return _FIELD.sub(plain, rtlil)


def _as_loop(zeros: re.Match[str]) -> str:
    """Fill a memory in a loop, whose variable is the block's own."""
    name, n = zeros["name"], int(zeros["last"] or 0) + 1
    row = f"{name}_row"
    return (
        f"  initial begin : {name}_zeros\n"
        f"    integer {row};\n"
        f"    for ({row} = 0; {row} < {n}; {row} = {row} + 1)\n"
        f"      {name}[{row}] = {zeros['zero']};\n"
        "  end\n"
    )
