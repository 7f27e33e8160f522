"""The replay in C++: built once, and kept in the user's cache like a simulator."""

import ctypes
import functools
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..engines.cache import default_cache
from ..engines.compiler import find_compiler
from ..engines.native import load_library
from ..errors import ToolError
from .rules import CacheRules
from .visits import Integers, Visits

__all__ = ["lru_hits", "native_library", "replay_native"]

_SOURCE = Path(__file__).with_name("replay.cc")
_LIBRARY = "replay.so"
_POLICIES = ("none", "liveness", "lru", "next-use")

_log = logging.getLogger(__name__)

_Bytes = NDArray[np.uint8]


class _Rules(ctypes.Structure):
    """``Rules`` of the replay."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in ("policy", "hot", "cold", "threshold", "lookahead", "horizon")
    ]


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """Return the replay's library, or ``None`` where there is no compiler: models do without."""
    try:
        compiler = find_compiler()
        flags = ("-shared", "-fvisibility=hidden")
        parts: list[str | bytes] = ["replay", _SOURCE.read_bytes(), compiler.identity]

        def build(folder: Path) -> None:
            compiler.run([*flags, str(_SOURCE)], makes=_LIBRARY, cwd=folder)

        title = f"the replay of caches with {compiler.title}"
        folder = default_cache().get([*parts, *compiler.flags, *flags], build, title=title)
        pointer, i64 = ctypes.c_void_p, ctypes.c_int64
        arrays = [pointer] * 5
        return load_library(
            folder / _LIBRARY,
            {
                "replay": (None, [pointer, i64, *arrays, i64, pointer, pointer, pointer]),
                "lru": (None, [i64, i64, pointer, i64, pointer]),
            },
        )
    except ToolError as error:
        _log.info("replays are slow: %s", error)
        return None


def replay_native(
    library: ctypes.CDLL, rules: CacheRules, visits: Visits
) -> tuple[_Bytes, Integers, Integers]:
    """Return of each visit what became of it (0 hit, 1 fill, 2 bypass), slot, and victim or -1."""
    n = len(visits)
    given = _Rules(
        policy=_POLICIES.index(rules.policy),
        hot=rules.hot,
        cold=rules.cold,
        threshold=min(rules.threshold, (1 << 31) - 1),
        lookahead=min(rules.lookahead, n + 1),
        horizon=-1 if rules.horizon is None else min(rules.horizon, n + 1),
    )
    kind, slot, victim = np.empty(n, np.uint8), np.empty(n, np.int32), np.empty(n, np.int32)
    left = visits.uses.astype(np.int32)  # a copy, which is counted down
    ordered = [visits.window, visits.block, visits.jobs, visits.distance]
    inputs = [np.ascontiguousarray(part, np.int32) for part in ordered]
    library.qkloom_replay(
        ctypes.addressof(given),
        n,
        *(part.ctypes.data for part in inputs),
        left.ctypes.data,
        len(left),
        *(part.ctypes.data for part in (kind, slot, victim)),
    )
    return kind, slot, victim


def lru_hits(library: ctypes.CDLL, slots: int, visits: Visits) -> NDArray[np.bool_]:
    """Return which visits plain LRU of ``slots`` slots, one at least, finds in it."""
    hit = np.empty(len(visits), np.uint8)
    block = np.ascontiguousarray(visits.block, np.int32)
    library.qkloom_lru(slots, len(block), block.ctypes.data, len(visits.uses), hit.ctypes.data)
    return hit.astype(bool)
