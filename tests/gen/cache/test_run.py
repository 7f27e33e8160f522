"""The command ``qkloom cache``, from options to table, JSON and picture."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkloom.gen.cli import main
from qkloom.tb.cache.replay import replay_exact
from qkloom.tb.cache.rules import CacheRules
from qkloom.tb.cache.visits import visits_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    given = np.tril(rng.random((4, 20, 20)) < 0.3)
    given[..., 0] = True
    np.save(tmp_path / "masks.npy", given)
    return tmp_path / "masks.npy"


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *words: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["cache", *map(str, words)])
        output, messages = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, messages
        assert "Traceback" not in messages
        return messages.strip() if code else output

    def report(self, *words: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*words, "--json"))
        return found


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.mark.parametrize("policy", ["next-use", "liveness", "lru"])
def test_counts_are_the_exact_models(shell: Shell, masks: Path, policy: str) -> None:
    options = ["--blocks", 6, "--hot", 2, "--lookahead", 2, "--horizon", 3, "--window", 8]
    report = shell.report("--jobs", masks, "--policy", policy, *options)
    rules = CacheRules(policy, hot=2, cold=4, threshold=10, lookahead=2, horizon=3)
    visits = visits_of(np.load(masks), kv_heads=1, pairs_per_window=8)
    counts = replay_exact(rules, visits).counts()
    of = report["cache"]
    assert (of["hits"], of["misses"]) == (counts.hits.total, counts.misses)
    assert (of["bypasses"], of["evictions"]) == (counts.bypasses, counts.evictions.total)
    assert of["tiers"]["hot"]["hits"] == counts.hits.hot
    assert report["block_bytes"] == 2 * 128 * 128
    assert of["bytes"] == counts.misses * report["block_bytes"]
    assert of["bytes_belady"] <= of["bytes"] <= of["bytes_no_cache"]
    assert of["policy"] == policy


def test_what_is_not_given_is_the_chips(shell: Shell, masks: Path, tmp_path: Path) -> None:
    chip = tmp_path / "mine.toml"
    chip.write_text(
        'name = "mine"\nclock_mhz = 100.0\nlanes = [{ matrix = "plain", n = 3 }]\nsize = 8\n'
        "block = 16\nhead_dim = 32\ntokens = 512\nsparse = true\n"
        "cache = { hot_blocks = 3, cold_blocks = 5, lookahead = 2, hot_threshold = 0.25 }\n"
    )
    report = shell.report("--jobs", masks, "--chip", chip)
    of = report["cache"]
    assert (of["hot"], of["cold"], of["lookahead"], of["horizon"]) == (3, 5, 2, None)
    assert (of["threshold"], report["pairs_per_window"], report["block_bytes"]) == (5, 3, 1024)
    of = shell.report("--jobs", masks, "--chip", chip, "--blocks", 16, "--horizon", 3)["cache"]
    assert (of["hot"], of["cold"], of["lookahead"], of["horizon"]) == (8, 8, 1, 3)


def test_announced_uses_are_checked(shell: Shell, tmp_path: Path) -> None:
    jobs = {"kv_heads": 1, "blocks": 2, "jobs": [[0, 0, 0], [1, 0, 0]]}
    path = tmp_path / "jobs.json"
    for uses, rule in (
        ([1, 2], "Block 1 must have 0 uses left at the end, not 1: too many"),
        ([0, 1], "Block 0 must have 1 uses left for a visit of 1 jobs, not 0: too few"),
    ):
        path.write_text(json.dumps({**jobs, "uses": uses}))
        assert rule in shell.run("--jobs", path, "--blocks", 1, code=2)
    path.write_text(json.dumps({**jobs, "uses": [1, 1]}))
    assert shell.report("--jobs", path, "--blocks", 1)["cache"]["misses"] == 2


def test_table(shell: Shell, masks: Path) -> None:
    text = shell.run("--jobs", masks, "--blocks", 6)
    for word in (
        "hot tier, 3 block pairs",
        "block pairs held, over time",
        "LRU",
        "Belady's optimum",
        "FAST-Prefill: hit rate 65%",
    ):
        assert word in text
    assert "masks.npy: no cache" in shell.run("--jobs", masks, "--policy", "none")


def test_no_cache_beside_one(shell: Shell, masks: Path) -> None:
    """What keeps nothing is measured against what as many block pairs would save."""
    of = shell.report("--jobs", masks, "--policy", "none", "--blocks", 6)["cache"]
    kept = shell.report("--jobs", masks, "--blocks", 6)["cache"]
    assert of["bytes"] == of["bytes_no_cache"] and of["occupancy"]["most"] == 0
    assert of["bytes_lru"] == kept["bytes_lru"] < of["bytes"]


def test_a_made_up_context(shell: Shell) -> None:
    words = ("--generate", "sinks", "--tokens", 2048, "--blocks", 4)
    report = shell.report(*words)
    assert report["origin"] == "sinks, 2,048 tokens"
    assert (report["heads"], report["query_blocks"]) == (4, 16)


@pytest.mark.parametrize("policy", ["next-use", "none"])
def test_picture(shell: Shell, masks: Path, tmp_path: Path, policy: str) -> None:
    path = tmp_path / "cache.svg"
    report = shell.report(
        "--jobs", masks, "--blocks", 6, "--policy", policy, "--window", 2, "--plot", path
    )
    root = ElementTree.parse(path).getroot()
    bars = [bar for bar in root.iter(f"{SVG}rect") if "fill-opacity" in bar.attrib]
    of = report["cache"]
    assert len(bars) == of["misses"] - of["bypasses"]
    assert len(list(root.iter(f"{SVG}path"))) == (0 if policy == "none" else 2)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for bar in bars:
        x, y, across, down = (float(bar.attrib[n]) for n in ("x", "y", "width", "height"))
        assert 66 <= x < x + across <= width - 65.9
        assert 0 < y < y + down < height
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert "slots with a block" in words
    assert any(word and word.startswith(f"{of['visits']:,} visits, ") for word in words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "One of --jobs and --generate must be given, such as "),
        (["--generate", "sinks", "--jobs", "a.csv"], "--jobs and --generate are two ways to a li"),
        (
            ["--jobs", "a.csv", "--tokens", "9"],
            "--tokens is of a made-up context, and is 9",
        ),
        (["--generate", "sinks", "--causal"], "--causal goes without --generate"),
        (["--generate", "sink", "--blocks", "4"], "family must be one of flat, sinks, "),
        (["--generate", "flat", "--kv-heads", "0"], "--kv-heads must be a positive number, not 0"),
        (
            ["--jobs", "MASKS"],
            "--blocks must be given with policy next-use, since u280 has no cache by itself; for ",
        ),
        (["--jobs", "MASKS", "--blocks", "0"], "--blocks must be 1 to 131,072, not 0$"),
        (["--jobs", "MASKS", "--blocks", "9" * 20], "--blocks must be 1 to 131,072, not 9+$"),
        (["--jobs", "MASKS", "--policy", "none", "--blocks", "-4"], "--blocks must be 0 to 131,"),
        (["--jobs", "MASKS", "--policy", ""], "--policy must be one of "),
        (["--jobs", "MASKS", "--policy", "LRU"], "--policy must be one of .* mean lru"),
        (["--generate", "flat", "--tokens", "9" * 11], "--tokens must be 128 to 262,144, not 9+$"),
        (["--generate", "flat", "--kv-heads", "999"], "--kv-heads must be at most 64, not 999$"),
        (["--jobs", "MASKS", "--blocks", "4", "--hot", "5"], "--hot must be 0 to 4, .*, not 5$"),
        (["--jobs", "MASKS", "--blocks", "4", "--lookahead", "5"], "--lookahead must be 1 to 4, "),
        (
            ["--jobs", "MASKS", "--blocks", "4", "--horizon", "0"],
            "--horizon must be 1 to 131,072, n",
        ),
        (
            ["--jobs", "MASKS", "--blocks", "4", "--window", "0"],
            "--window must be 1 to 131,072, no",
        ),
        (["--jobs", "MASKS", "--policy", "lfu"], "--policy must be one of .* mean lru"),
        (["--jobs", "MASKS", "--kv-heads", "3", "--blocks", "1"], "kv_heads must divide heads, 4"),
        (["--jobs", "MASKS", "--plot", "a.png"], "--plot must be a .svg file in a folder"),
        (["--jobs", "MASKS", "--chip", "u28"], "'u28' is neither a preset nor"),
    ],
)
def test_refuses(shell: Shell, masks: Path, words: list[str], message: str) -> None:
    given = [str(masks) if word == "MASKS" else word for word in words]
    assert re.match(f"qkloom: {message}", shell.run(*given, code=2))
