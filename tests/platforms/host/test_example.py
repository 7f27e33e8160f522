"""The example program, as a user starts it."""

from pathlib import Path
from typing import Any

import pytest

from qkloom.platforms.host import example


@pytest.mark.parametrize("platform", ["sim", "xrt"])
def test_is_bit_exact(
    folder: Path, xclbin: Path, pyxrt: Any, capsys: pytest.CaptureFixture[str], platform: str
) -> None:
    path = folder if platform == "sim" else xclbin
    assert example.main([platform, str(path), "--tokens", "20"]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    rows = {name: text.strip() for name, text in rows.items()}
    assert rows["device"] == f"{platform} host-tiny"
    assert rows["heads x tokens x head_dim"] == "2 x 20 x 8"
    assert rows["bit exact"] == "yes"
    assert (rows["cycles"] == "not known") == (platform == "xrt")
    assert float(rows["error, of the same integers"].split()[0]) < 5e-3


def test_a_bit_differs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = example.exact_attention

    def differing(*arguments: Any, **options: Any) -> Any:
        found = exact(*arguments, **options)
        found[1, 2, 3] ^= 1
        return found

    monkeypatch.setattr(example, "exact_attention", differing)
    assert example.main(["sim", str(folder), "--tokens", "9"]) == 1
    assert "no, 1 outputs differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sim", "nowhere"], "nowhere must be a folder that qkloom generated"),
        (["xrt", "nowhere"], "nowhere must be an .xclbin file"),
    ],
)
def test_no_answer(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main(words) == 2
    assert capsys.readouterr().err.startswith(message)
