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


def test_wrong_kind() -> None:
    with pytest.raises(TypeError, match=r"^A chip must be a preset's name, .*, not None$"):
        qkloom.load(None)  # type: ignore[arg-type]


def test_vectors_must_be_a_count(tmp_path: Path) -> None:
    chip, folder = qkloom.load("u280-tiny"), tmp_path / "tiny"
    with pytest.raises(InputError, match=r"^vectors must be 0 to 1,000, not -1; 0 leaves out"):
        chip.generate(folder, vectors=-1)
    with pytest.raises(TypeError, match=r"^vectors must be an integer, not '2'$"):
        chip.generate(folder, vectors="2")  # type: ignore[arg-type]
    assert not folder.exists()


def test_engine_must_be_a_name() -> None:
    with pytest.raises(InputError, match=r"^Engine must be one of .*, not None$"):
        qkloom.load("u280-tiny").simulate([], [], [], engine=None)  # type: ignore[arg-type]


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="'loda'"):
        qkloom.loda  # noqa: B018
