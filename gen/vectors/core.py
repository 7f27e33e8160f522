"""Test vectors of a core: attention calls as streams, and the words of the exact model."""

import numpy as np

from ...rtl.core import Core
from ...tb.core import program
from ...tb.deal import schedule
from ...tb.packing import pack
from ..call import Prepared, prepare
from ..chip import ChipDescription
from .bench import Expected, Vectors, integers

__all__ = ["core_vectors"]


def core_vectors(description: ChipDescription, core: Core, n: int) -> Vectors:
    """Return ``n`` attention calls on random tensors, the same in every run.

    They take turns: causal and not, whole and broken blocks, all head dimensions, grouped heads.
    """
    inputs: dict[str, list[int]] = {}
    outputs: list[list[int]] = [[] for _ in range(core.n_lanes)]
    max_cycles = 0
    for case in range(n):
        prepared = _call(description, case)
        bench = program(core, prepared.call, max_cycles=prepared.cycle_limit)
        for name, stimulus in bench.inputs.items():
            inputs.setdefault(name, []).extend(integers(np.asarray(stimulus.values)))
        for lane, words in enumerate(_answers(core, prepared)):
            outputs[lane].extend(words)
        max_cycles += prepared.cycle_limit
    by_lane = Expected(
        [word for words in outputs for word in words],
        key_width=(core.n_lanes - 1).bit_length(),
    )
    return Vectors(inputs, {"o": by_lane}, max_cycles)


def _call(description: ChipDescription, case: int) -> Prepared:
    """Return an attention call that takes every lane, and two KV blocks where they fit."""
    rng = np.random.default_rng(case)
    block, size = description.block, description.size
    heads = 2 * -(-description.n_lanes // 4)
    n_q = min(2 * block - case % 2 * (size // 2 + 1), description.tokens)
    n_kv = min(2 * block - case % 3 * (size // 2 - 1), description.tokens)
    head_dim = description.head_dim - case * size % description.head_dim
    kv_heads = heads // 2 if case % 2 else heads
    q, k, v = (
        rng.standard_normal((n_heads, tokens, head_dim))
        for n_heads, tokens in ((heads, n_q), (kv_heads, n_kv), (kv_heads, n_kv))
    )
    # The flattest softmax, and ones so sharp that a new maximum clears the sums of before.
    q *= (8, 32, 1, 2)[case % 4]
    causal = case % 2 == 1
    return prepare(description, q, k, v, causal=causal, q_start=max(n_kv - n_q, 0) * causal)


def _answers(core: Core, prepared: Prepared) -> list[list[int]]:
    """Return the words that leave each lane: what ``read_back`` reads, written."""
    lane, call = core.lane_parameters, prepared.call
    raw = prepared.expected.reshape(-1, *prepared.expected.shape[-2:])
    raw = np.pad(raw, ((0, 0), (0, 0), (0, call.q.shape[-1] - raw.shape[-1])))
    answers: list[list[int]] = [[] for _ in range(core.n_lanes)]
    rounds = schedule(call, lanes=core.n_lanes, slots=lane["slots"], block_rows=lane["block_rows"])
    for block in (block for blocks in rounds for block in blocks):
        rows = raw[block.head, block.first : block.first + block.rows]
        beats = rows.reshape(-1, lane["out_width"])
        last = np.arange(len(beats)) == len(beats) - 1
        item = {"row": beats, "last": last}
        words = pack(core.o.payload.shape(), index=block.lane, item=item)
        answers[block.lane] += integers(words)
    return answers
