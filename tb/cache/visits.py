"""Visits: what block-major attention takes from memory, in its order.

A *pair* is a (query block, head). Pairs of a KV head go query block by query block, the heads of
its group innermost. A *window* is the next so many pairs; it ends with its KV head. A *visit* is a
KV block that at least one pair of a window needs; a *job* is one of these pairs. Visits go window
by window, KV blocks ascending.

Blocks of different KV heads are different ones: numbers run on from KV head to KV head.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...rtl.check import check_count
from ..attention import Bools
from ..errors import InputError

__all__ = ["Integers", "Visits", "told_apart", "visits_of", "what_is_needed"]

Integers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Visits:
    """The visits of a call, in order.

    Members
    -------
    window, block : int arrays (visits,)
        Which window needs which block.
    jobs : int array (visits,)
        How many of its pairs do.
    distance : int array (visits,)
        Windows until the block is needed again; 0: it never is.
    uses : int array (blocks,)
        All jobs of each block: its liveness when the call begins.
    """

    window: Integers
    block: Integers
    jobs: Integers
    distance: Integers
    uses: Integers

    def __len__(self) -> int:
        return len(self.block)

    @property
    def n_jobs(self) -> int:
        """Jobs of all visits."""
        return int(self.jobs.sum())


def what_is_needed(
    masks: Bools, *, block: int, n_q: int, n_kv: int, causal: bool = False, q_start: int = 0
) -> Bools:
    """Return which KV blocks are fetched for each query block: what it selects, of what it sees.

    A query block that sees none of them has one job on block 0, for its rows of zeros, as hardware
    does (:mod:`qkloom.rtl.sequencer.select`).

    Parameters
    ----------
    masks : bool array (heads, query blocks, KV blocks)
        The selection.
    block : int
        Tokens of a block.
    n_q, n_kv, causal, q_start
        The call, as of :class:`qkloom.tb.deal.Call`.
    """
    ends = np.minimum(np.arange(block, n_q + block, block), n_q)  # of query blocks
    seen = q_start + ends if causal else np.full(len(ends), n_kv)
    n_blocks = -(-np.clip(seen, 1, n_kv) // block)
    needs: Bools = masks & (np.arange(masks.shape[-1]) < n_blocks[:, None])
    needs[..., 0] |= ~needs.any(axis=-1)
    return needs


def visits_of(needs: Bools, *, kv_heads: int, pairs_per_window: int) -> Visits:
    """Return the visits of a call.

    Parameters
    ----------
    needs : bool array (heads, query blocks, KV blocks)
        Which KV blocks each query block takes.
    kv_heads : int
        Heads of keys, a divisor of the heads.
    pairs_per_window : int
        Pairs of a window.

    Raises
    ------
    TypeError, ValueError
        When these do not go together.
    """
    check_count("Pairs_per_window", pairs_per_window)
    check_count("Kv_heads", kv_heads)
    heads, _, n = needs.shape
    if heads % kv_heads:
        raise InputError(f"kv_heads must divide heads, {heads}, not be {kv_heads}")
    jobs = _jobs_of_windows(needs, kv_heads, pairs_per_window)
    place = np.flatnonzero(jobs)
    window, column = np.divmod(place.astype(np.int32), n)
    block = column + n * (window // max(jobs.shape[1], 1))
    return Visits(
        window,
        block,
        jobs.reshape(-1)[place].astype(np.int32),
        _distances(window, block, n * kv_heads),
        jobs.sum(axis=1, dtype=np.int32).reshape(-1),
    )


def told_apart(visits: Visits, *, blocks: int, windows: int) -> Visits:
    """Return visits as a cache sees them that tells apart the first ``windows`` of a KV head.

    What comes again in a later one comes again in window ``windows`` to it. ``blocks`` are those of
    a KV head.
    """
    head = visits.block // blocks
    first = np.zeros(int(head.max()) + 1, np.int32)
    first[head[::-1]] = visits.window[::-1]  # of equal places the last one counts: a head's first
    begin = first[head]
    window = np.minimum(visits.window - begin, windows - 1)
    distance = np.minimum(visits.distance, windows - window)
    return replace(visits, window=begin + window, distance=distance)


def _jobs_of_windows(needs: Bools, kv_heads: int, size: int) -> NDArray[np.unsignedinteger]:
    """Return the jobs of each block (KV heads, windows, KV blocks)."""
    heads, n_q, n = needs.shape
    group = heads // kv_heads
    n_pairs = n_q * group
    pairs = needs.reshape(kv_heads, group, n_q, n).swapaxes(1, 2).reshape(kv_heads, n_pairs, n)
    kind = np.uint8 if size < 256 else np.uint32  # sums of bytes are the fastest
    whole = n_pairs // size
    jobs = np.empty((kv_heads, -(-n_pairs // size), n), kind)
    full = pairs[:, : whole * size].reshape(kv_heads, whole, size, n)
    full.view(np.uint8).sum(axis=2, dtype=kind, out=jobs[:, :whole])
    if whole < jobs.shape[1]:
        pairs[:, whole * size :].view(np.uint8).sum(axis=1, dtype=kind, out=jobs[:, whole])
    return jobs


def _distances(window: Integers, block: Integers, n_blocks: int) -> Integers:
    """Return how many windows later each visit's block is needed again; 0: never."""
    # Small integers are sorted by their digits: several times as fast.
    order = np.argsort(block.astype(np.uint16) if n_blocks < 1 << 16 else block, kind="stable")
    sorted_block, sorted_window = block[order], window[order]
    again = sorted_block[1:] == sorted_block[:-1]
    distance = np.zeros(len(block), np.int32)
    distance[order[:-1]] = np.where(again, sorted_window[1:] - sorted_window[:-1], 0)
    return distance
