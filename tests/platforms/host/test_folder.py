import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qkloom.gen.generate import generate_unit
from qkloom.gen.units import find_unit
from qkloom.platforms.host.folder import read_folder
from qkloom.tb.errors import InputError

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture
def edit(copy: Path) -> Callable[[Change], Path]:
    def apply(change: Change) -> Path:
        path = copy / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return copy

    return apply


class TestRead:
    def test_what_it_says(self, folder: Path) -> None:
        found = read_folder(folder)
        assert (found.name, found.top) == ("host-tiny", "host_tiny")
        assert found.clock_hz == 100_000_000
        assert found.n_channels == 2
        assert found.kernel.channels == {"q": (0,), "k": (0, 1), "v": (1,), "o": (0, 1)}
        assert found.kernel.parameters["lanes"] == ("plain",)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^.*none must be a folder that qkloom generated, an"):
            read_folder(tmp_path / "none")

    @pytest.mark.parametrize("text", ["", "[]", '{"generator": "other"}'])
    def test_a_folder_of_somebody_else(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=r"has no manifest\.json of ours; name the folder th"):
            read_folder(tmp_path)

    def test_a_unit(self, tmp_path: Path) -> None:
        options = {"shape": "8", "depth": "2"}
        made = generate_unit(find_unit("queue"), options, tmp_path / "unit")
        with pytest.raises(
            InputError, match=r"^.* must be of a chip, and is of the unit queue, wh"
        ):
            read_folder(made)

    @pytest.mark.parametrize(
        "change",
        [
            lambda manifest: manifest["versions"].update(qkloom="0.0.7"),
            lambda manifest: manifest.pop("versions"),
            lambda manifest: manifest.pop("kernel"),
        ],
    )
    def test_another_version(self, edit: Any, change: Change) -> None:
        with pytest.raises(InputError, match=r" must be of the qkloom that drives it, [\d.]+, and"):
            read_folder(edit(change))

    @pytest.mark.parametrize(
        "change",
        [
            lambda manifest: manifest["kernel"].update(channels=[]),
            lambda manifest: manifest["kernel"].update(colour="red"),
            lambda manifest: manifest.pop("top"),
            lambda manifest: manifest.update(parameters={}),
        ],
    )
    def test_parameters_of_no_kernel(self, edit: Any, change: Change) -> None:
        with pytest.raises(
            InputError, match=r"manifest\.json must describe a kernel, and does not"
        ):
            read_folder(edit(change))


class TestDesign:
    def test_is_what_was_generated(self, folder: Path) -> None:
        design = read_folder(folder).design()
        assert design.rtlil == (folder / "sim/host-tiny.il").read_text()
        assert design.digest == json.loads((folder / "manifest.json").read_text())["rtlil_sha256"]
        assert {"m00_axi_araddr", "m01_axi_araddr", "interrupt"} <= {p.name for p in design.ports}
        assert any(name.startswith("lane") for name in design.boundaries)
        assert design.verilog is None

    def test_has_verilog_if_asked(self, folder: Path) -> None:
        design = read_folder(folder).design(verilog=True)
        assert design.verilog == (folder / "host-tiny.v").read_text()
        assert design.primitives == ""

    @pytest.mark.parametrize("path", ["sim/host-tiny.il", "sim/ports.json", "host-tiny.v"])
    def test_a_file_is_missing(self, copy: Path, path: str) -> None:
        (copy / path).unlink()
        with pytest.raises(InputError, match=rf"^.* must hold {path}: No such file.*; generate"):
            read_folder(copy).design(verilog=True)

    @pytest.mark.parametrize("path", ["sim/host-tiny.il", "sim/ports.json", "host-tiny.v"])
    def test_a_file_was_changed(self, copy: Path, path: str) -> None:
        with (copy / path).open("a") as file:
            file.write("\n")
        with pytest.raises(InputError, match=rf"^.*{path} must be as it was generated, and was ch"):
            read_folder(copy).design(verilog=True)

    def test_rtlil_of_another_manifest(self, edit: Any) -> None:
        made = edit(lambda manifest: manifest.update(rtlil_sha256="0"))
        with pytest.raises(
            InputError, match=r" holds RTLIL that its manifest\.json is not of; gen"
        ):
            read_folder(made).design()
