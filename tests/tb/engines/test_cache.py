"""What is kept is complete, found again, and not too much."""

import os
import threading
from pathlib import Path

import pytest

from qkloom.tb.engines.cache import Cache, default_cache
from qkloom.tb.errors import ToolError


def writer(size, log=None):
    def build(folder):
        if log is not None:
            log.append(folder)
        (folder / "inside").mkdir()
        (folder / "inside/file").write_bytes(bytes(size))

    return build


def test_builds_once(tmp_path):
    cache, log = Cache(tmp_path / "new"), []
    first = cache.get(["a", b"b"], writer(10, log))
    assert cache.get(["a", "b"], writer(10, log)) == first
    assert len(log) == 1
    assert (first / "inside/file").stat().st_size == 10
    assert cache.get(["ab"], writer(10, log)) != first
    assert cache.size() == 20


def test_finds_what_was_built(tmp_path):
    cache = Cache(tmp_path / "new")
    assert cache.find(["a"]) is None
    folder = cache.get(["a"], writer(10))
    assert cache.find(["a"]) == folder
    assert cache.find(["b"]) is None


def test_log_tells_of_builds(tmp_path, caplog):
    cache = Cache(tmp_path)
    with caplog.at_level("INFO", "qkloom"):
        for _ in range(2):
            cache.get(["a"], writer(10), title="a simulator")
    first, second = caplog.messages
    assert first == "building a simulator ..."
    assert second.startswith("built a simulator in ")


def test_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("written")
        raise ToolError("no compiler")

    cache = Cache(tmp_path)
    with pytest.raises(ToolError, match=r"^no compiler$"):
        cache.get(["a"], fail)
    assert list(tmp_path.iterdir()) == []
    assert cache.get(["a"], writer(1)).is_dir()


def test_two_at_once_share_one(tmp_path):
    """The second to finish takes what the first has made."""
    cache, folders = Cache(tmp_path), []
    meeting = threading.Barrier(2)

    def build(folder):
        meeting.wait(timeout=60)
        writer(5)(folder)

    threads = [
        threading.Thread(target=lambda: folders.append(cache.get(["a"], build))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders[0] == folders[1]
    assert list(tmp_path.iterdir()) == [folders[0]]


def test_prune_removes_what_was_used_least_recently(tmp_path):
    cache = Cache(tmp_path)
    folders = [cache.get([name], writer(100)) for name in "abc"]
    for age, folder in zip((3, 1, 2), folders, strict=True):
        os.utime(folder, (1e9 - age, 1e9 - age))
    assert cache.prune(250) == 100
    assert not folders[0].exists()
    cache.get(["c"], writer(100))  # used just now
    assert cache.prune(150) == 100
    assert [folder.exists() for folder in folders] == [False, False, True]
    assert cache.prune() == 100
    assert cache.size() == 0


def test_every_build_keeps_the_bound(tmp_path):
    cache = Cache(tmp_path, max_bytes=250)
    for age, name in enumerate("abcdef"):
        folder = cache.get([name], writer(100))
        os.utime(folder, (1e9 + age, 1e9 + age))
    assert cache.size() == 200
    assert cache.get(["large"], writer(1000)).is_dir()  # is used all the same
    assert cache.size() == 1000


def test_abandoned_builds_are_removed(tmp_path):
    cache = Cache(tmp_path)
    for name, age in (("build-old", 1e9), ("build-running", None)):
        (tmp_path / name).mkdir()
        if age is not None:
            os.utime(tmp_path / name, (age, age))
    cache.prune()
    assert [path.name for path in tmp_path.iterdir()] == ["build-running"]


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"^Cannot write to the cache .*file/x: Not a directory; make room there, or"
    with pytest.raises(ToolError, match=message):
        Cache(tmp_path / "file/x").get(["a"], writer(1))


def test_default_is_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = default_cache().root
    assert root.parts[-2:] == ("qkloom", "simulators")
    if os.name == "posix" and Path("/proc").exists():
        assert root.is_relative_to(tmp_path)
