"""What whole chips take of the U280, by counts, and how well estimates meet them.

Chips are synthesized in an empty cache. Peaks are peaks: every multiplier in every cycle.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qkloom.gen.call import build_kernel
from qkloom.gen.chip import read_chip
from qkloom.gen.estimate.model import FIT
from qkloom.gen.synthesis import Synthesis, synthesize
from qkloom.tb.engines import Cache

from .bench_synthesis import FAST_PREFILL, row, spell, timing_rows

# Per cent of what the shell of the U280 leaves to users, or of the card where that is not known;
# about 601 K of its LUTs can be memory.
LIMIT = 0.8
LUTRAM = 601_000
MEDIAN, WORST, SECONDS = 0.05, 0.15, 1.0


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        for name in ("u280", "u280-max"):
            yield from _chip_rows(name, cache)
    yield from _fit_rows()


def _chip_rows(name: str, cache: Cache) -> Iterator[dict[str, Any]]:
    chip = read_chip(name)
    synthesis = synthesize(build_kernel(chip), name=chip.identifier, cache=cache)
    is_full = name == "u280-max"
    shares = _shares(synthesis)
    for column, share in shares.items():
        how = f"{synthesis.total[column]:,.6g} of the whole chip"
        yield row(f"{name}, {column} used", share, how, asked=LIMIT if is_full else None)
    if is_full:
        binds = max(shares, key=lambda column: shares[column])
        how = f"{synthesis.macs:,} int8 MACs; {binds} binds; aim 17.2, Vitis AI's DPU on this card"
        tops = 2 * synthesis.macs * 300e6 / 1e12
        yield row(f"{name}, PEAK TOPS at 300 MHz", tops, how, asked=14, better="more")
        tops = 2 * synthesis.macs * FAST_PREFILL.mhz * 1e6 / 1e12
        how = f"FAST-Prefill {FAST_PREFILL.tops:g}"
        yield row(f"{name}, PEAK TOPS at {FAST_PREFILL.mhz:g} MHz", tops, how, better="more")
    yield row(f"{name}, synthesis", synthesis.seconds, spell(synthesis), unit="s")
    yield from timing_rows(f"timing proxy, {name}", synthesis)
    yield from _estimate_rows(name, synthesis)


def _shares(synthesis: Synthesis) -> dict[str, float]:
    """Return shares of what users have; of the card where only that is known."""
    shares = {**(synthesis.share_of_card or {}), **(synthesis.share_of_user or {})}
    return {
        **{column: shares[column] for column in ("lut", "dsp", "bram36", "uram")},
        "lutram": synthesis.total["lutram"] / LUTRAM,
    }


def _estimate_rows(name: str, synthesis: Synthesis) -> Iterator[dict[str, Any]]:
    """Compare the estimate of a chip, made by a process of its own, with its counts."""
    code = (
        "import json, time; start = time.perf_counter()\n"
        "from qkloom.gen.chip import read_chip\n"
        "from qkloom.gen.estimate import estimate\n"
        "from qkloom.rtl.kernel.kernel import Kernel\n"
        f"chip = read_chip({name!r})\n"
        "total = estimate(Kernel(**chip.kernel_parameters), name=chip.identifier).total\n"
        "print(json.dumps([dict(total), time.perf_counter() - start]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    total, seconds = json.loads(done.stdout)
    for column in ("lut", "lutram", "ff", "carry8"):
        off = abs(total[column] - synthesis.total[column]) / synthesis.total[column]
        how = f"{total[column]:,.6g} estimated, {synthesis.total[column]:,.6g} counted"
        yield row(f"{name}, estimate of {column}, off by", off, how, asked=WORST)
    wrong = sum(
        abs(total[column] - synthesis.total[column]) for column in ("dsp", "bram36", "uram")
    )
    yield row(f"{name}, estimate of DSPs, BRAM and URAM, off by", wrong, "must be exact", asked=0)
    yield row(f"{name}, estimate", seconds, "imports included", asked=SECONDS, unit="s")


def _fit_rows() -> Iterator[dict[str, Any]]:
    """Say how far held-out points are off, as `make fit` has written."""
    fit = json.loads(FIT.read_text())
    for column, error in fit["errors"].items():
        how = f"{error['points']} points of {fit['n_points']} that were not fitted, {fit['date']}"
        exact = column in ("dsp", "bram36", "uram")
        name = f"estimator, {column}"
        yield row(f"{name}, median error", error["median"], how, asked=0 if exact else MEDIAN)
        how += f"; {error['missed']} beyond 15 % and 32 cells"
        yield row(f"{name}, worst error", error["worst"], how, asked=0 if exact else WORST)
