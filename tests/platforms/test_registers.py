import os
import re
import shutil
import subprocess
import sys

import pytest

from qkloom.platforms.registers import register_files
from qkloom.rtl.control import Register, all_registers, kernel_registers

KERNEL = kernel_registers(
    q_channels=1,
    k_channels=2,
    v_channels=2,
    o_channels=1,
    stalls=(("keys", "of waiting"), ("room", "of waiting")),
)
REGISTERS = all_registers(*KERNEL)
FILES = register_files(top="u280_tiny", registers=REGISTERS[::-1])

MAIN = """
#include <stdio.h>
#include "registers.h"
#include "registers.h"
int main(void)
{{
{lines}
    return 0;
}}
"""


def compilers(language):
    """Commands that compile C99 or C++ with all warnings as errors; the first one that is there."""
    names = {"c": ["clang", "gcc", "cc"], "c++": [os.environ.get("CXX", ""), "clang++", "g++"]}
    found = next((name for name in names[language] if name and shutil.which(name)), None)
    zig = [sys.executable, "-m", "ziglang", "cc" if language == "c" else "c++"]
    flags = ["-std=c99"] if language == "c" else ["-std=c++11"]
    return [*([found] if found else zig), *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.mark.parametrize(("language", "name"), [("c", "main.c"), ("c++", "main.cpp")])
def test_header_compiles_and_says_the_same(require, write, language, name):
    require("compiler")
    expected = []
    for register in REGISTERS:
        begin = f"U280_TINY_{register.name.upper()}"
        expected += [(f"{begin}_OFFSET", register.offset), (f"{begin}_BITS", register.width)]
        if register.constant is not None:
            expected.append((f"{begin}_VALUE", register.constant))
        for field in register.fields:
            place = register.place(field.name)
            mask = (2**field.width - 1) * 2**place
            expected += [(f"{begin}_{field.name.upper()}_SHIFT", place)]
            expected += [(f"{begin}_{field.name.upper()}_MASK", mask)]
    lines = "\n".join(
        f'    printf("{name} %llu\\n", (unsigned long long)({name}));' for name, _ in expected
    )
    folder = write({"registers.h": FILES["registers.h"], name: MAIN.format(lines=lines)})
    subprocess.run([*compilers(language), name, "-o", "main"], cwd=folder, check=True, timeout=120)
    printed = subprocess.run([folder / "main"], check=True, capture_output=True, text=True).stdout
    assert [line.split() for line in printed.splitlines()] == [[n, str(v)] for n, v in expected]
    defined = re.findall(r"#define (\S+) ", FILES["registers.h"])
    assert defined == [name for name, _ in expected]


def test_table():
    text = FILES["registers.md"]
    rows = re.findall(r"^\| `(0x[0-9a-f]+)` \| `(\w+)` \| (\d+)", text, re.MULTILINE)
    assert [(int(a, 16), name, int(bits)) for a, name, bits in rows] == [
        (r.offset, r.name, r.width) for r in REGISTERS
    ]
    assert "| `0x064` | `q_start` | 32, signed | `rw` |" in text
    assert (
        "| | `error.code` | 7:0 | | 0, or what went wrong; of the call that ap_done is of |" in text
    )
    assert "`version` | 32 | `ro` | Version of this map: 0x00010000 |" in text


def test_wide_fields():
    from qkloom.rtl.control import Field

    wide = Register("w", 0, "ro", "W", width=64, fields=(Field("a", 40, "A"), Field("b", 24, "B")))
    text = register_files(top="x", registers=[wide])["registers.h"]
    assert "#define X_W_B_MASK 0xffffff0000000000ull" in text


def test_error():
    with pytest.raises(ValueError, match=r"^Registers must not overlap"):
        register_files(top="x", registers=[REGISTERS[0], Register("x", 0, "ro", "")])
