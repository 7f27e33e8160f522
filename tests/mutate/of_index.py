"""Stimuli of what selects blocks."""

from dataclasses import replace

import numpy as np

from qkloom.rtl.index.code import CodeEncoder
from qkloom.rtl.index.record import HeadRecord
from qkloom.rtl.index.selector import CoverageSelector
from qkloom.tb.index.selector import draw_ask, selector_words
from qkloom.tb.packing import pack
from qkloom.tb.stalls import Stall
from qkloom.tb.testbench import Expectation

from .unit import Unit, paced

__all__ = ["units"]

SIZES = {"candidates": 30, "value_width": 9, "fraction": 3, "total_width": 12, "digit_bits": 4}
N_ASKS = 120

COUNTED = "Results are counted from a verdict on: before it the count is cleared in every cycle."


def units():
    """Yield the units, one after the other."""
    unit = CoverageSelector(**SIZES)
    yield Unit(
        "coverage selector",
        unit,
        selections(unit),
        is_timed=False,
        explained={
            f"{unit.module_name}: $auto$simple.cc:211:make_patterns_logic$238, A[0] const1": (
                "What the bins of the higher digit write into the lower one, its own first bin "
                "writes over: the rule still holds there."
            ),
        },
    )
    unit = CodeEncoder(value_width=12, fraction=3, tag=3)
    rng = np.random.default_rng(12)
    values = rng.integers(0, 1 << 12, 400) >> rng.integers(0, 12, 400)
    sent = pack(unit.i.payload.shape(), value=values, tag=rng.integers(0, 8, 400))
    yield Unit("code encoder", unit, paced({"i": sent}, {}, max_cycles=20_000))
    unit = HeadRecord(blocks=64, count_width=12, total_width=4)
    yield Unit(
        "head record",
        unit,
        records(unit),
        is_timed=False,
        explained={
            f"{unit.module_name}: {place}": why
            for place, why in {
                "$auto$simple.cc:194:make_patterns_logic$152, A[0] const1": (
                    "Each head has a result of columns: its flag is written anyway."
                ),
                "$20, A[0] cnot1 with bit 1": COUNTED,
                "$auto$simple.cc:211:make_patterns_logic$145, A[0] const1": COUNTED,
            }.items()
        },
    )


def selections(unit):
    """Ask for selections of few candidates and of many, the same at different paces."""
    rng = np.random.default_rng(N_ASKS)
    numbers = rng.integers(1, SIZES["candidates"] + 1, N_ASKS)
    asks = [draw_ask(unit, rng, int(n)) for n in numbers]
    inputs, outputs = selector_words(unit, asks)
    counts = {name: len(words) for name, words in outputs.items()}
    benches = paced(inputs, counts, max_cycles=400_000)
    # Resets about when the last bins of the first sweep are told; and with a result waiting.
    ends = (1 << SIZES["digit_bits"]) * 2 + int(numbers[0]) + SIZES["total_width"] + 6
    benches += [replace(benches[0], aborted_cycles=ends + n) for n in range(4)]
    waiting = Expectation(count=N_ASKS, stall=Stall(0.97, 8, 1))
    outputs = {**benches[0].outputs, "result": waiting}
    first = replace(benches[0], outputs=outputs)
    return [*benches, *(replace(first, aborted_cycles=n) for n in (200, 301, 402))]


def records(unit):
    """Verdicts on heads, and the two results or three of each."""
    rng = np.random.default_rng(7)
    n = 150
    is_aware = rng.integers(0, 2, n)
    verdict, result = unit.verdict.payload.shape(), unit.result.payload.shape()
    n_results = 2 * n + int(is_aware.sum())
    fields = {name: rng.integers(0, 1 << result[name].width, n_results) for name in result.members}
    sent = {
        "verdict": pack(
            verdict,
            blocks=rng.integers(0, 65, n),
            is_aware=is_aware,
            divergence=rng.integers(0, 1 << verdict["divergence"].width, n),
        ),
        "result": pack(result, **fields),
    }
    return paced(sent, {"aware": n, "o": n}, max_cycles=40_000)
