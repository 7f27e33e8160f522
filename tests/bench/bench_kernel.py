"""A kernel before its memory: how busy its lanes stay, what it moves, how fast it simulates."""

import time
from collections.abc import Iterator

import numpy as np

import qkloom
from qkloom.gen.call import build_core, build_kernel, memory_model, prepare
from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.gen.emit import emit
from qkloom.tb.core import program
from qkloom.tb.engines import find_compiler, run
from qkloom.tb.kernel import start_kernel
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import Image
from qkloom.tb.kernel.task import place

TOKENS, HEADS, HEAD_DIM = 1024, 4, 64


def tensors(heads: int, tokens: int) -> list[np.ndarray]:
    """Return queries, keys and values."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((heads, tokens, HEAD_DIM)) for _ in range(3)]


def bare_cycles(description: ChipDescription, causal: bool) -> int:
    """Return the cycles of the lanes alone, their streams never waiting."""
    prepared = prepare(description, *tensors(HEADS, TOKENS), causal=causal)
    core = build_core(description)
    bench = program(core, prepared.call, max_cycles=prepared.cycle_limit)
    return run(emit(core), bench, "cxxrtl").cycles


def speed(description: ChipDescription) -> tuple[float, int]:
    """Return cycles per second of a call, and its cycles, the simulator built before."""
    prepared = prepare(description, *tensors(1, TOKENS))
    kernel = build_kernel(description)
    image = Image(kernel.n_channels)
    task = place(kernel, prepared.call, image)
    with start_kernel(emit(kernel), memory_model(description, image)) as simulation:
        image.write([simulation.memory[c] for c in range(kernel.n_channels)])
        host = Host(simulation, kernel.registers)
        start = time.perf_counter()
        cycles = host.call(task.arguments, prepared.cycle_limit).cycles
        return cycles / (time.perf_counter() - start), cycles


def rows() -> Iterator[dict]:
    """Run attention on u280-small with and without memory, and one lane for speed."""
    small = read_chip("u280-small")
    where = f"u280-small, {HEADS} heads, {TOKENS:,} tokens, head_dim {HEAD_DIM}, HBM2 model, cxxrtl"
    for causal in (False, True):
        kind = "causal" if causal else "dense"
        result = qkloom.load(small).simulate(*tensors(HEADS, TOKENS), causal=causal)
        if not result.bit_exact:
            raise SystemExit(f"The kernel's output is wrong, {kind}")
        report, bare = result.report, bare_cycles(small, causal)
        how = f"{kind}, {where}: {result.cycles:,} cycles, lanes alone {bare:,}, bit-exact"
        yield {
            "name": f"mac_utilization through AXI over bare lanes, {kind}",
            "value": bare / result.cycles,
            "unit": "",
            "asked": None if causal else 0.95,
            "better": "more",
            "how": how,
        }
        yield {
            "name": f"mac_utilization, {kind}",
            "value": report["mac_utilization"],
            "unit": "",
            "asked": None,
            "better": "more",
            "how": how,
        }
        moved = {name: report["bytes"][name] for name in "qkvo"}
        off = sum(abs(moved[name] - report["planned_bytes"][name]) for name in "qkvo")
        yield {
            "name": f"bytes moved beside those the schedule must, {kind}",
            "value": off,
            "unit": "B",
            "asked": 0,
            "better": "less",
            "how": f"counted {moved}; formula: tb/kernel/task.py planned_bytes",
        }
    one = small.replace(lanes=[{"matrix": "plain", "n": 1}])
    speed(one)  # the build
    per_second, cycles = speed(one)
    yield {
        "name": "speed of a kernel with a 16x16 lane",
        "value": per_second,
        "unit": "cycles/s",
        "asked": 40_000,
        "better": "more",
        "how": f"registers, 4 channels of HBM2, cxxrtl, {find_compiler().name}: {cycles:,} cycles",
    }
