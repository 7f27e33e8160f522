"""Files are written whole or not at all, and what cannot be written is told before the work."""

import os

import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.files import check_writable, written_aside


def test_replaced_at_the_end(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with written_aside(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_kept_when_the_work_fails(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_link_stays(tmp_path):
    path, link = tmp_path / "out.txt", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with written_aside(link) as part:
        part.write_text("new")
    assert link.is_symlink() and path.read_text() == "new"


@pytest.mark.parametrize("function", [check_writable, lambda path: written_aside(path).__enter__()])
def test_refused(function, tmp_path, monkeypatch):
    def refuse(path, reason):
        with pytest.raises(
            InputError, match=rf"^{path} must be a file that can be written: {reason}; choose ano"
        ):
            function(path)

    refuse(tmp_path, "it is a folder")
    refuse(tmp_path / "none/out.txt", "No such file or directory")
    (tmp_path / "file").touch()
    refuse(tmp_path / "file/out.txt", "Not a directory")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a superuser may write anywhere
    refuse(tmp_path / "file", "it is protected from writing")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_check_leaves_no_trace(tmp_path):
    check_writable(tmp_path / "out.txt")
    assert list(tmp_path.iterdir()) == []
