from pathlib import Path

import pytest

import qkloom
from qkloom.gen.chip import read_chip
from qkloom.tb.tensors import InputError


def test_load_takes_names_files_tables_and_descriptions(tmp_path: Path) -> None:
    description = read_chip("u280-tiny")
    file = tmp_path / "mine.toml"
    file.write_text(description.to_toml())
    for source in ("u280-tiny", str(file), file, description.resolved(), description):
        assert qkloom.load(source).description.resolved() == description.resolved()


def test_chip_says_what_it_is() -> None:
    chip = qkloom.load("u280-tiny")
    assert chip.name == "u280-tiny"
    assert repr(chip) == "<qkloom chip u280-tiny: 2 lanes>"


def test_wrong_description() -> None:
    with pytest.raises(
        InputError, match=r"^The description has 7 mistakes:\n  name: must be given"
    ):
        qkloom.load({})


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="'loda'"):
        qkloom.loda  # noqa: B018
