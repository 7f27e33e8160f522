"""Where built simulators and netlists are kept: by content, in the user's cache, bounded."""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs

from ..errors import ToolError

__all__ = ["MAX_BYTES", "Cache", "default_cache"]

MAX_BYTES = 1 << 30
"""What the cache is pruned to after each build."""

_log = logging.getLogger(__name__)

# A build folder this old belongs to a process that was killed.
ABANDONED_SECONDS = 6 * 3600


class Cache:
    """Folders of files that took long to make, found by a hash of what they are made from.

    A folder is made aside and renamed when complete: nobody ever sees half of one, and of two
    processes that make the same the second takes what the first has made.

    Parameters
    ----------
    root : Path
        Where the folders are; need not exist.
    max_bytes : int
        What the cache is pruned to after each build.
    """

    def __init__(self, root: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.root = root
        self.max_bytes = max_bytes

    def get(
        self, parts: Iterable[str | bytes], build: Callable[[Path], None], *, title: str = ""
    ) -> Path:
        """Return the folder made from ``parts``; make it if there is none.

        Parameters
        ----------
        parts : iterable of str or bytes
            Everything that the content depends on.
        build : callable
            Fills the empty folder that it is handed.
        title : str
            What is built, for the log (level INFO): one line when it begins, one when it is done.

        Raises
        ------
        ToolError
            When the folder cannot be written, or ``build`` raises it.
        """
        parts = list(parts)
        if (found := self.find(parts)) is not None:
            return found
        folder = self._folder(parts)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix="build-", dir=self.root))
        except OSError as error:
            raise self._refuse(error) from None
        start = time.perf_counter()
        if title:
            _log.info("building %s ...", title)
        try:
            build(aside)
            _rename(aside, folder)
        except OSError as error:  # no space, mostly
            raise self._refuse(error) from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if title:
            _log.info("built %s in %.0f s", title, time.perf_counter() - start)
        self.prune(self.max_bytes, keep=folder)
        return folder

    def find(self, parts: Iterable[str | bytes]) -> Path | None:
        """Return the folder made from ``parts`` if there is one.

        Raises
        ------
        ToolError
            When the cache cannot be used.
        """
        folder = self._folder(parts)
        try:
            os.utime(folder)  # used just now: the last to be pruned
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refuse(error) from None
        return folder

    def check(self) -> None:
        """Find out whether something can be kept here; nothing is left behind.

        Raises
        ------
        ToolError
            When the cache cannot be used.
        """
        parents = [self.root, *self.root.parents]
        missing = [folder for folder in parents if not folder.exists()]
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="build-", dir=self.root):
                pass
        except OSError as error:
            raise self._refuse(error) from None
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def size(self) -> int:
        """Return the bytes that the cache takes."""
        return sum(_size(folder) for folder in self._folders())

    def prune(self, max_bytes: int = 0, *, keep: Path | None = None) -> int:
        """Remove what was not used for longest until ``max_bytes`` remain; return the bytes freed.

        Parameters
        ----------
        max_bytes : int
            0 removes everything.
        keep : Path, optional
            A folder to keep in any case.
        """
        entries = []
        freed = 0
        for folder in self._folders():
            try:
                used = folder.stat().st_mtime
            except OSError:
                continue  # another process has removed it
            if folder.name.startswith("build-"):
                if time.time() - used > ABANDONED_SECONDS:
                    freed += _remove(folder)
            else:
                entries.append((used, folder))
        left = sum(_size(folder) for _, folder in entries)
        for _, folder in sorted(entries):
            if left <= max_bytes:
                break
            if folder != keep:
                removed = _remove(folder)
                left -= removed
                freed += removed
        return freed

    def _folder(self, parts: Iterable[str | bytes]) -> Path:
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "little") + data)
        return self.root / digest.hexdigest()[:32]

    def _folders(self) -> list[Path]:
        return [path for path in self.root.glob("*") if path.is_dir()]

    def _refuse(self, error: OSError) -> ToolError:
        return ToolError(
            f"Cannot write to the cache {self.root}: {error.strerror}; "
            "make room there, or set XDG_CACHE_HOME to a folder of your own"
        )


def default_cache() -> Cache:
    """Return the cache of this user."""
    return Cache(platformdirs.user_cache_path("qkloom", appauthor=False) / "simulators")


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Another process was faster, with the same content.


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _remove(folder: Path) -> int:
    size = _size(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return size
