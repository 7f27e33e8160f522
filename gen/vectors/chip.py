"""Test vectors of a chip: calls in the memory of its kernel, and what the exact model says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...rtl.kernel.kernel import Kernel
from ...tb.kernel.image import Bytes, Image, read_bytes, to_channels
from ...tb.kernel.task import Task, place
from ..call import Prepared, prepare
from ..chip import ChipDescription

__all__ = ["ChipVectors", "chip_vectors"]


@dataclass(frozen=True)
class ChipVectors:
    """Calls one after the other.

    Members
    -------
    calls : sequence of dict
        What the host writes into which register, for each call.
    before, after : list of uint8 array
        What each memory channel holds before the first call, and after the last. Whatever is no
        input or output is a guard.
    guard : int
        What a byte holds that is a guard.
    n_words : int
        Words of output.
    max_cycles : int
        When to give up.
    """

    calls: Sequence[dict[str, int]]
    before: list[Bytes]
    after: list[Bytes]
    guard: int
    n_words: int
    max_cycles: int


def chip_vectors(description: ChipDescription, kernel: Kernel, n: int) -> ChipVectors:
    """Return ``n`` attention calls on random tensors, the same in every run.

    They take turns: every lane once, or two query blocks; causal and not; keys and values in order,
    or where a block table says. All are small, and more calls begin with the same ones.
    """
    image = Image(kernel.n_channels)
    cases: list[tuple[Task, Prepared, NDArray[np.int64] | None]] = []
    for case in range(n):
        prepared = _call(description, case)
        places = _places(prepared, description.block, case) if case % 2 else None
        cases.append((place(kernel, prepared.call, image, places), prepared, places))
    before = [np.empty(size, np.uint8) for size in image.sizes]
    image.write(before)
    guard = int(before[0][0])  # before the first buffer
    for task, _, places in cases:
        _guard_padding(kernel, task, places, before, guard)
    after = [part.copy() for part in before]
    for task, prepared, _ in cases:
        _answer(kernel, task, prepared, after)
    return ChipVectors(
        calls=[task.arguments for task, _, _ in cases],
        before=before,
        after=after,
        guard=guard,
        n_words=sum(task.call.q.size for task, _, _ in cases),
        max_cycles=sum(prepared.cycle_limit for _, prepared, _ in cases),
    )


def _call(description: ChipDescription, case: int) -> Prepared:
    """Return a small attention call that sees two KV blocks, where they fit."""
    rng = np.random.default_rng(case)
    block, tokens = description.block, description.tokens
    size: int = description.size
    if case % 2:
        heads, kv_heads, head_dim = 1, 1, size
        n_q, n_kv = min(block + 3, tokens), min(block + size // 2 + 1, tokens)
    else:
        heads = min(description.n_lanes, description.heads)
        kv_heads = 2 if case % 4 and heads % 2 == 0 else 1
        # Not a whole tile of the last elements, if there is another.
        head_dim = min(2 * size - case % 3, description.head_dim)
        n_q, n_kv = min(3, tokens), min(block + size // 2 + 1, tokens)
    q, k, v = (
        rng.standard_normal((n_heads, length, head_dim))
        for n_heads, length in ((heads, n_q), (kv_heads, n_kv), (kv_heads, n_kv))
    )
    # The flattest softmax, and ones so sharp that a new maximum clears the sums of before.
    q *= (8, 1, 32, 2)[case % 4]
    causal = case % 4 != 3
    return prepare(description, q, k, v, causal=causal, q_start=max(n_kv - n_q, 0) * causal)


def _places(prepared: Prepared, block: int, case: int) -> NDArray[np.int64]:
    """Return places of KV blocks that are not in order, with a gap."""
    kv_heads, n_kv, _ = prepared.call.k.shape
    n_blocks = kv_heads * -(-n_kv // block)
    return np.random.default_rng(case).permutation(n_blocks + 1)[:n_blocks].astype(np.int64)


def _guard_padding(
    kernel: Kernel,
    task: Task,
    places: NDArray[np.int64] | None,
    memory: list[Bytes],
    guard: int,
) -> None:
    """Put guards where a tensor's blocks have no tokens: nobody may look at what is there."""
    given, call = kernel.parameters, task.call
    for name, x in (("q", call.q), ("k", call.k), ("v", call.v)):
        parts = to_channels(
            np.full_like(x, -1),
            block=task.block,
            n_channels=len(kernel.channels[name]),
            width=given["stream_width" if name == "q" else "stationary_width"],
            places=None if name == "q" else places,
        )
        for number, part in enumerate(parts):
            address = task.arguments[f"{name}_{number}"]
            read_bytes(memory, address, len(part))[part == 0] = guard


def _answer(kernel: Kernel, task: Task, prepared: Prepared, memory: list[Bytes]) -> None:
    """Write what the exact model says to where the kernel must."""
    heads, n_q, head_dim = task.call.q.shape
    block = task.block
    expected = prepared.expected.reshape(heads, n_q, -1)
    words = np.zeros((heads, n_q, head_dim), "<i4")
    words[..., : expected.shape[-1]] = expected
    per_head = -(-n_q // block)
    for head in range(heads):
        for number in range(per_head):
            at, channel = divmod(head * per_head + number, len(task.outputs))
            rows = words[head, number * block : (number + 1) * block]
            address = task.outputs[channel][0] + at * block * head_dim * 4
            content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
            read_bytes(memory, address, len(content))[:] = content
