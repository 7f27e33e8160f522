from typing import Any

import numpy as np
import pytest

import qkloom
from qkloom.gen.call import build_kernel
from qkloom.gen.chip import ChipDescription, preset_names, read_chip
from qkloom.gen.vectors.chip import ChipVectors, chip_vectors
from qkloom.tb.kernel.image import CHANNEL_BYTES
from qkloom.tb.kernel.product import GEMM
from qkloom.tb.kernel.task import SPARSE


def made(description: ChipDescription, n: int) -> ChipVectors:
    return chip_vectors(description, build_kernel(description), n)


def test_same_in_every_run(mini: qkloom.Chip) -> None:
    one, two = (made(mini.description, 2) for _ in range(2))
    assert one.calls == two.calls
    assert all(np.array_equal(a, b) for a, b in zip(one.before, two.before, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one.after, two.after, strict=True))


def test_more_cases_begin_with_the_same(mini: qkloom.Chip) -> None:
    one, two = (made(mini.description, n) for n in (1, 2))
    assert two.calls[:1] == one.calls
    for few, many in zip(one.before + one.after, two.before + two.after, strict=True):
        assert np.array_equal(few, many[: len(few)])


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_small_ones(name: str) -> None:
    description = read_chip(name)
    vectors = made(description, 3)
    first, second, third = vectors.calls
    # Every lane gets a head, and sees two KV blocks; then a head has two query blocks.
    assert first["heads"] == description.n_lanes
    assert first["n_kv"] > description.block < second["n_q"]
    assert first["flags"] & 1
    assert second["flags"] & 2
    assert description.sparse == bool(second["flags"] & SPARSE)
    # A chip that multiplies matrices does.
    assert description.gemm == (third["flags"] == GEMM)
    n_bytes = sum(np.count_nonzero(part != vectors.guard) for part in vectors.after)
    assert n_bytes < 50_000 * len(vectors.calls)


def test_only_outputs_change(mini: qkloom.Chip) -> None:
    kernel = build_kernel(mini.description)
    vectors = chip_vectors(mini.description, kernel, 2)
    changed = 0
    for number, (before, after) in enumerate(zip(vectors.before, vectors.after, strict=True)):
        at = np.flatnonzero(before != after)
        changed += len(at)
        assert (before[at] == vectors.guard).all()
        outputs = [
            call[name]
            for call in vectors.calls
            for name in call
            if name.startswith("o_") and call[name] // CHANNEL_BYTES == number
        ]
        assert not len(at) or min(outputs) == number * CHANNEL_BYTES + at[0] // 32 * 32
    # Few of the bytes may be those of a guard.
    assert 3.5 * vectors.n_words < changed <= 4 * vectors.n_words


def test_blocks_are_filled_up_with_guards(mini: qkloom.Chip) -> None:
    description: Any = mini.description
    vectors = made(description, 1)
    (call,) = vectors.calls
    channel, offset = divmod(call["k_0"], CHANNEL_BYTES)
    # The first block is whole, and the next ones are not: no zeros.
    block = description.block * call["head_dim"]
    there = vectors.before[channel][offset : offset + 2 * block]
    assert (there[:block] != vectors.guard).mean() > 0.9
    assert (there[-call["head_dim"] :] == vectors.guard).all()
