"""The testbench of a kernel, in Verilator: it passes, and it notices whatever is wrong."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import qkloom


@pytest.fixture(scope="module")
def built(mini: qkloom.Chip, bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return folder and program of a chip."""
    folder = mini.generate(tmp_path_factory.mktemp("chip") / "mini", vectors=4)
    return folder, bench.build(folder)


def test_passes(built: Any, bench: Any) -> None:
    folder, program = built
    assert bench.run(program, folder) == "PASS: mini: 4 calls, 184 words are right"


def test_preset(bench: Any, tmp_path: Path) -> None:
    folder = qkloom.load("u280-tiny").generate(tmp_path / "tiny", vectors=3)
    size = sum(path.stat().st_size for path in (folder / "sim").glob("**/*.*v"))
    assert size < 100_000
    program = bench.build(folder)
    assert bench.run(program, folder).startswith("PASS: u280_tiny: 3 calls, ")
    # The third call is a product: here of fewer chunks.
    header = (folder / "registers.h").read_text()
    found = re.search(r"_CHUNKS(?:_OFFSET)?\s+(0x[0-9a-f]+)", header)
    assert found, header
    calls = folder / "sim/vectors/calls.hex"
    lines = calls.read_text().split()
    (at,) = (k for k, line in enumerate(lines) if int(line, 16) == (int(found[1], 16) << 32) + 3)
    calls.write_text("\n".join([*lines[:at], f"{int(lines[at], 16) - 1:x}", *lines[at + 1 :]]))
    assert re.search("must hold", bench.run(program, folder))


def test_a_call_that_selects(mini: qkloom.Chip, bench: Any, tmp_path: Path) -> None:
    """The fifth call does; with another rule it selects something else."""
    chip = qkloom.Chip(mini.description.replace(index="coverage"))
    folder = chip.generate(tmp_path / "mini", vectors=5)
    program = bench.build(folder)
    assert bench.run(program, folder).startswith("PASS: mini: 5 calls, ")
    header = (folder / "registers.h").read_text()
    found = re.search(r"_LIMIT(?:_OFFSET)?\s+(0x[0-9a-f]+)", header)
    assert found, header
    calls = folder / "sim/vectors/calls.hex"
    lines = calls.read_text().split()
    at = max(k for k, line in enumerate(lines) if int(line, 16) >> 32 == int(found[1], 16))
    limit = int(lines[at], 16) & 0xFFFFFFFF
    assert limit > 1
    # No head is query-aware any more: neither record nor selection are what they must be.
    calls.write_text("\n".join([*lines[:at], f"{int(lines[at], 16) - limit:x}", *lines[at + 1 :]]))
    assert re.search("must hold", bench.run(program, folder))


@pytest.fixture
def vectors(built: Any, tmp_path: Path) -> Path:
    """Return a copy of the vectors, to be changed."""
    return Path(shutil.copytree(built[0] / "sim/vectors", tmp_path / "sim/vectors"))


def test_wrong_word(built: Any, bench: Any, vectors: Path, tmp_path: Path) -> None:
    (file,) = vectors.glob("*.after.hex")
    lines = file.read_text().split()
    for index in (1, len(lines) - 1):
        wrong = f"{int(lines[index], 16) ^ 1 << 37:0{len(lines[index])}x}"
        file.write_text("\n".join([*lines[:index], wrong, *lines[index + 1 :]]))
        verdict = bench.run(built[1], tmp_path)
        found = re.fullmatch(r"FAIL: \S+: (\w+) must hold (\w+), not (\w+)", verdict)
        assert found, verdict
        address, wanted, held = (int(word, 16) for word in found.groups())
        # The second word of the beat.
        beat = len(wrong) // 2
        assert address % beat == 4
        assert wanted ^ held == 1 << 5
        if index == 1:
            assert (address >> 28, address % (1 << 28) // beat) == (
                int(file.name[1:3]),
                int(lines[0][1:], 16),
            )


def test_changed_guard(built: Any, bench: Any, vectors: Path, tmp_path: Path) -> None:
    """A word behind the outputs that must have changed, and did not."""
    (file,) = vectors.glob("*.after.hex")
    lines = file.read_text().split()
    file.write_text("\n".join([*lines, "0" * len(lines[-1])]))
    assert bench.run(built[1], tmp_path).endswith(" must hold 00000000, not a5a5a5a5")


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        # More heads than there are: the next ones' outputs are where guards were.
        ("heads", "4", "must hold a5a5a5a5, not|leaves the memory"),
        ("q_start", "0", "must hold"),
        ("head_dim", "3", "register .* must be 00000000, not 00000005"),
        ("k_0", "10000000", "leaves the memory|must hold"),
    ],
)
def test_wrong_register(
    register: str, value: str, message: str, built: Any, bench: Any, vectors: Path, tmp_path: Path
) -> None:
    header = (built[0] / "registers.h").read_text()
    found = re.search(rf"_{register.upper()}(?:_OFFSET)?\s+(0x[0-9a-f]+)", header)
    assert found, header
    file = vectors / "calls.hex"
    lines = file.read_text().split()
    at = next(k for k, line in enumerate(lines) if int(line, 16) >> 32 == int(found[1], 16))
    lines[at] = lines[at][:-8] + value.zfill(8)
    file.write_text("\n".join(lines))
    verdict = bench.run(built[1], tmp_path)
    assert verdict.startswith("FAIL")
    assert re.search(message, verdict), verdict


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("output_column", r" \+ ", " - "),
        ("write_manager", "beat_is_last, buffer__o__payload", "beat_is_last, ~buffer__o__payload"),
    ],
)
def test_wrong_line(
    module: str, old: str, new: str, built: Any, bench: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(built[0], tmp_path / "mini", ignore=lambda *_: ["obj_dir"])
    verilog = folder / "mini.v"
    text = verilog.read_text()
    found = re.search(rf"module {module}\w*.*?endmodule", text, re.DOTALL)
    assert found, re.findall(r"^module (\w+)", text, re.MULTILINE)
    broken, n = re.subn(old, new, found[0], count=1)
    assert n, found[0]
    verilog.write_text(text.replace(found[0], broken))
    assert bench.run(bench.build(folder), folder).startswith("FAIL")
