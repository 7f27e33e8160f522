"""Sparse attention of a whole kernel whose memory is too slow without a cache of KV blocks.

Channels of keys and of values deliver a quarter of what lanes would take that never wait, each KV
block fetched for every window that needs it; the other channels are as they are, since a cache
saves them nothing. Selections have a fifth of the visible blocks: the first one, the diagonal, and
others at random, which is the worst for a cache: nothing is structured.

What a hit costs is seen where all blocks stay: by how many cycles more query blocks take, beside
the cycles that their products take.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from qkloom.gen.call import emitted_kernel, prepare
from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.tb.attention import Bools
from qkloom.tb.cache.visits import visits_of, what_is_needed
from qkloom.tb.exact import count_macs
from qkloom.tb.kernel import start_kernel
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image
from qkloom.tb.kernel.task import place
from qkloom.tb.memory import MemoryModel
from qkloom.tb.tensors import Shape

CHIP, TOKENS, HEADS, KV_HEADS, HEAD_DIM = "u280-small", 4096, 4, 1, 64
DENSITY, SHARE, LATENCY = 0.2, 0.25, 100
KEPT = 1024
BLOCK_PAIRS = 64
SLOW = ("k", "v")


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    chip = read_chip(CHIP)
    cached = chip.replace(cache={"cold_blocks": BLOCK_PAIRS})
    yield of_hits(cached)
    mask = selection(HEADS, -(-TOKENS // chip.block))
    for description, causal, masks, asked, better in (
        (cached, True, mask, 90.0, "more"),
        (chip, True, mask, 35.0, "less"),
        (cached, False, np.random.default_rng(2).random(mask.shape) < DENSITY, None, "more"),
    ):
        found = run(description, masks, causal=causal)
        of = "cache" if description is cached else "no cache"
        yield {
            "name": f"{TOKENS:,} tokens, {'causal' if causal else 'not causal'}, {DENSITY:.0%} "
            f"density, a quarter of the bandwidth: mac_utilization, {of}",
            "value": 100 * found["utilization"],
            "unit": "%",
            "asked": asked,
            "better": better,
            "how": f"{CHIP}, {HEADS} heads of {KV_HEADS}, {found['cycles']:,} cycles, "
            f"{found['bandwidth']:.3g} bytes a cycle of keys and of values each, "
            f"{found['fetched']:,} bytes fetched of {found['no_cache']:,} without cache",
        }


def of_hits(chip: ChipDescription) -> dict[str, Any]:
    """Return a row of what query blocks take whose KV blocks are all in the cache."""
    few, more = (
        run(chip, np.ones((HEADS, n // chip.block, KEPT // chip.block), bool), causal=False)
        for n in (TOKENS // 8, TOKENS // 4)
    )
    cycles, least = (more[name] - few[name] for name in ("cycles", "least"))
    assert more["fetched"] == few["fetched"]
    return {
        "name": f"{TOKENS // 8:,} queries more, all KV blocks kept: mac_utilization of hits",
        "value": 100 * least / cycles,
        "unit": "%",
        "asked": 99.0,
        "better": "more",
        "how": f"{chip.name}, {HEADS} heads of {KV_HEADS}, {KEPT:,} keys, as slow a memory: "
        f"{cycles:,} cycles more for {least:,} of products",
    }


def selection(heads: int, blocks: int) -> Bools:
    """Return the first block, the diagonal and others at random, as many as the density says."""
    rng = np.random.default_rng(1)
    visible = np.tri(blocks, dtype=bool)
    mask = np.zeros((heads, blocks, blocks), bool)
    for of_head in mask:
        of_head |= np.eye(blocks, dtype=bool)
        of_head[:, 0] = True
        others = np.flatnonzero(visible & ~of_head)
        n = round(DENSITY * visible.sum()) - int(of_head.sum())
        of_head.reshape(-1)[rng.choice(others, n, replace=False)] = True
    return mask


def run(chip: ChipDescription, masks: Bools, *, causal: bool) -> dict[str, Any]:
    """Run a call before a memory of which keys and values get a part of what they ask for."""
    rng = np.random.default_rng(1)
    n_q, n_kv = (n * chip.block for n in masks.shape[1:])
    q = rng.normal(size=(HEADS, n_q, HEAD_DIM))
    k, v = rng.normal(size=(2, KV_HEADS, n_kv, HEAD_DIM))
    prepared = prepare(chip, q, k, v, causal=causal, block_mask=masks)
    kernel, design = emitted_kernel(chip, False)
    image = Image(kernel.n_channels)
    task = place(kernel, prepared.call, image)
    seen: dict[str, Any] = {"causal": causal, "q_start": 0}
    shape = Shape(1, HEADS, KV_HEADS, n_q, n_kv, HEAD_DIM)
    macs = count_macs(shape, chip.numerics, block_rows=chip.block, block_mask=masks[None], **seen)
    least = macs.slots // (chip.size**2 * chip.n_lanes)
    needs = what_is_needed(masks, block=chip.block, n_q=n_q, n_kv=n_kv, **seen)
    visits = visits_of(needs, kv_heads=KV_HEADS, pairs_per_window=chip.pairs_per_window)
    no_cache = len(visits) * chip.block * HEAD_DIM * chip.stationary_width // 8
    bandwidth = SHARE * no_cache / least
    clock = round(chip.clock_mhz * 1e6)
    memory = MemoryModel(
        clock_hz=clock,
        n_channels=kernel.n_channels,
        channel_bytes=CHANNEL_BYTES,
        storage_bytes=max(image.sizes),
        narrow=tuple(number for name in SLOW for number in kernel.channels[name]),
        narrow_bandwidth=round(bandwidth * clock),
        latency=LATENCY,
    )
    with start_kernel(design, memory) as simulation:
        contents = [simulation.memory[channel] for channel in range(kernel.n_channels)]
        image.write(contents)
        host = Host(simulation, kernel.registers)
        outcome = host.call(task.arguments, prepared.cycle_limit * 20)
        result = task.result(contents)[..., :HEAD_DIM]
        assert (result == prepared.expected.reshape(result.shape)).all()
        fetched = host.read("k_bytes") + host.read("v_bytes")
    return {
        "cycles": outcome.cycles,
        "least": least,
        "utilization": least / outcome.cycles,
        "bandwidth": bandwidth,
        "fetched": fetched,
        "no_cache": 2 * no_cache,
    }
