"""Cycles of the Forecast unit for a layer, beside those that its keys take to come from memory.

A layer has a query for each of 2 KV heads: int8 vectors of 128 elements, 8,191 compressed keys of
131,072 tokens each, 96 blocks of which 33 are always taken. Memory gives a beat of ``width`` bytes
a cycle, and nothing waits for the lists. Counted from the first cycle to the last block.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from qkloom.gen.emit import emit
from qkloom.rtl.index.forecast import Forecast
from qkloom.tb.engines import check
from qkloom.tb.index.forecast_exact import Query
from qkloom.tb.index.forecast_stream import forecast_program

TOKENS, HEADS, HEAD_DIM = 131_072, 2, 128
WINDOWS = (TOKENS - 32) // 16 + 1
ABOVE = 1.1
"""Times the bytes of compressed keys over the bandwidth: what was asked."""


def layer(rng: np.random.Generator, heads: int = HEADS) -> list[Query]:
    """Return the queries of a layer; most of what is resident is chosen again."""
    return [
        Query(
            rng.integers(-128, 128, HEAD_DIM),
            rng.integers(-128, 128, (WINDOWS, HEAD_DIM)),
            position=TOKENS - 1,
            k=96,
            init=1,
            local=32,
            resident=tuple(sorted(rng.choice(TOKENS // 64, 96, replace=False).tolist())),
        )
        for _ in range(heads)
    ]


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    queries = layer(np.random.default_rng(0))
    for width in (32, 128):
        unit = Forecast(width=width)
        cycles = check(emit(unit), forecast_program(unit, queries)).cycles
        least = HEADS * WINDOWS * HEAD_DIM // width
        yield {
            "name": f"Forecast, {TOKENS:,} tokens, {width} bytes a cycle, a layer",
            "value": cycles,
            "unit": "cycles",
            "asked": ABOVE * least,
            "better": "less",
            "how": f"{HEADS} KV heads of {WINDOWS:,} keys: {least:,} beats; "
            f"{cycles / least:.4f} of that; lists equal to the exact model's",
        }
