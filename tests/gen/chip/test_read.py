from pathlib import Path

import pytest

from qkloom.gen.chip import read_chip
from qkloom.tb.tensors import InputError


def test_unknown_preset() -> None:
    with pytest.raises(
        InputError,
        match=r"^'u280-tini' is neither a preset nor a \.toml file; presets are u280, "
        r"u280-max, u280-small, u280-tiny \(did you mean u280-tiny\?\)$",
    ):
        read_chip("u280-tini")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml must be a readable file: No such file"):
        read_chip(tmp_path / "none.toml")


def test_not_toml(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text("size = = 8")
    with pytest.raises(InputError, match=r"chip\.toml must be TOML in UTF-8: .*line 1"):
        read_chip(file)


def test_not_text(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"chip\.toml must be TOML in UTF-8: "):
        read_chip(file)


def test_mistakes_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text('name = "x"')
    with pytest.raises(InputError, match=r"chip\.toml has 6 mistakes:\n  clock_mhz: "):
        read_chip(file)
