"""What the self test takes of a ULX3S board, and how fast nextpnr thinks it is.

The tools run as for a user: synthesis, place and route with five seeds, and the bitstream.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qkloom.gen.build import build_board

SEEDS = 5


def row(name: str, value: float, unit: str, how: str, **more: Any) -> dict[str, Any]:
    """Return a figure; less is better unless ``more`` says otherwise."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "asked": None,
        "better": "less",
        "how": how,
        **more,
    }


def rows() -> Iterator[dict[str, Any]]:
    """Yield the figures of one build."""
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        made = build_board("ulx3s", Path(scratch, "ulx3s"), seeds=SEEDS)
        seconds = time.perf_counter() - start
        size = (made.folder / "ulx3s.bit").stat().st_size
    device = made.board.device
    for name, usage in made.usage.items():
        how = f"of {usage.available:,} that the {device} has"
        yield row(f"{name} in use", usage.used, "", how)
    clock = made.board.clock_mhz
    for name, mhz in made.spread.items():
        how = f"nextpnr's estimate after routing, of {SEEDS} seeds"
        asked = clock if name == "min" else None
        yield row(f"Fmax, {name}", mhz, "MHz", how, better="more", asked=asked)
    yield row("bitstream", size / 1000, "kB", "compressed")
    spent = ", ".join(f"{name} {s:.0f} s" for name, s in made.seconds.items())
    yield row("whole build", seconds, "s", spent)
