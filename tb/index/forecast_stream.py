"""What a Forecast unit is sent for queries one after the other, as streams, and what it answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...rtl.index.forecast import Forecast
from ..packing import Words, pack
from ..stalls import FREE, Stall
from ..testbench import Expectation, Stimulus, Testbench
from .forecast_exact import Query, pack_lists, select_exactly

__all__ = ["forecast_program"]


def forecast_program(
    unit: Forecast,
    queries: Sequence[Query],
    stalls: Mapping[str, Stall] | None = None,
    **options: Any,
) -> Testbench:
    """Return the streams that make ``unit`` choose for all queries, with the exact model's answers.

    Parameters
    ----------
    unit : Forecast
        The hardware.
    queries : sequence of Query
        Vectors of whole beats each, of a multiple of 4 elements.
    stalls : mapping, optional
        By stream.
    **options
        Of the testbench.
    """
    stalls = stalls or {}
    sizes = {name: unit.parameters[name] for name in ("k_max", "blocks", "head_dim")}
    width = unit.parameters["width"]
    answers = [select_exactly(query, **sizes) for query in queries]
    asked = {
        "windows": [len(query.keys) for query in queries],
        "beats": [query.keys.shape[1] // width for query in queries],
        **{
            name: [getattr(q, name) for q in queries] for name in ("position", "k", "init", "local")
        },
    }
    sent = {
        "query": _words(unit, "query", asked),
        "resident": _words(unit, "resident", _lists([query.resident for query in queries])),
        "vector": _beats([query.vector for query in queries], width),
        "keys": _beats([query.keys for query in queries], width),
    }
    flags = {name: [answer.flags[name] for answer in answers] for name in answers[0].flags}
    expected = {
        "result": flags,
        **{
            name: _lists([getattr(answer, name) for answer in answers])
            for name in ("chosen", "load", "evict")
        },
    }
    return Testbench(
        inputs={name: Stimulus(words, stalls.get(name, FREE)) for name, words in sent.items()},
        outputs={
            name: Expectation(_words(unit, name, fields), stalls.get(name, FREE))
            for name, fields in expected.items()
        },
        max_cycles=20_000 + 40 * sum(map(len, sent.values())),
        **options,
    )


def _words(unit: Forecast, stream: str, fields: Mapping[str, Any]) -> Words:
    return pack(getattr(unit, stream).payload.shape(), **fields)


def _lists(lists: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    items = pack_lists(lists)
    return {name: [item[name] for item in items] for name in ("block", "end")}


def _beats(vectors: Sequence[Any], width: int) -> Words:
    """Return the words of int8 vectors, in beats of ``width`` elements."""
    beats = np.concatenate([np.asarray(x, np.int8).reshape(-1, width) for x in vectors])
    return np.ascontiguousarray(beats).view(np.uint32)
