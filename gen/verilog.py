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


_UNWRITTEN = re.compile(
    r"^  reg (?:\[(?P<high>\d+):0\] )?(?P<name>\w+) \[(?P<last>\d+):0\];\n(?!  initial begin)",
    re.MULTILINE,
)
"""A memory without initial contents: it is large, and begins with zeros."""


def to_verilog(rtlil: str) -> str:
    """Return the Verilog-2005 of a design, one module for each of its modules.

    Fields of a signal get names that need no escape: ``payload.row[3]`` is ``payload__row__3``. A
    memory of zeros is filled by a loop, and not by a line for each row; so is one without contents.

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
    return _UNWRITTEN.sub(_with_loop, _ZEROS.sub(_as_loop, verilog))


def _without_escapes(rtlil: str) -> str:
    """Name the wires of fields by words; one whose new name is somebody else's stays as it is."""
    owners = {name: name for name in re.findall(r"(?<=\\)\w+(?=\s)", rtlil)}

    def plain(found: re.Match[str]) -> str:
        name = re.sub(r"\W+", "__", found[0].replace("]", ""))
        return name if owners.setdefault(name, found[0]) == found[0] else found[0]

    return _FIELD.sub(plain, rtlil)


def _as_loop(zeros: re.Match[str]) -> str:
    return _loop(zeros["name"], int(zeros["last"] or 0) + 1, zeros["zero"])


def _with_loop(memory: re.Match[str]) -> str:
    width = int(memory["high"] or 0) + 1
    return memory[0] + _loop(memory["name"], int(memory["last"]) + 1, f"{width}'h0")


def _loop(name: str, n: int, zero: str) -> str:
    """Fill a memory in a loop, whose variable is the block's own."""
    row = f"{name}_row"
    return (
        f"  initial begin : {name}_zeros\n"
        f"    integer {row};\n"
        f"    for ({row} = 0; {row} < {n}; {row} = {row} + 1)\n"
        f"      {name}[{row}] = {zero};\n"
        "  end\n"
    )
