"""The Verilog that `qkloom generate u280-tiny` writes, before host and memory of cocotbext-axi."""

import json
from pathlib import Path

import numpy as np

from qkloom.gen.call import build_kernel, prepare
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
from qkloom.platforms.targets import TARGETS
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image
from qkloom.tb.kernel.task import place, planned_bytes
from qkloom.tb.tensors import default_tensors

from .harness import build, run

TOKENS = 32
SIZE = 1 << 17
"""Bytes of a channel's memory."""

CALLS = [
    (slice(0, 4), TOKENS, {}),
    (slice(4, 6), 21, {"causal": True, "q_start": TOKENS - 21}),
]
"""Heads, queries of each, options."""


def test_kernel(require, tmp_path):
    for tool in ("verilator", "compiler", "cocotb"):
        require(tool)
    chip = read_chip("u280-tiny")
    kernel = build_kernel(chip)
    design = emit(kernel, name=chip.identifier, verilog=True, target=TARGETS[chip.target])
    sources = {"kernel.v": design.verilog, "primitives.v": design.primitives}
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    write_plan(chip, kernel, tmp_path)
    folder = build([tmp_path / name for name in sources], top=chip.identifier)
    n_tests = run(
        folder,
        top=chip.identifier,
        module=Path(__file__).parent / "bench_kernel.py",
        scratch=tmp_path,
        environment={"PLAN": str(tmp_path)},
    )
    assert n_tests == 8


def write_plan(chip, kernel, folder):
    """Write what the host does, and what each channel holds before and after.

    A call's outputs are the only bytes that differ.
    """
    real = default_tensors().take_tokens(TOKENS)
    image = Image(kernel.n_channels)
    calls = []
    for heads, n_q, options in CALLS:
        q, k, v = (x[heads] for x in real)
        prepared = prepare(chip, q[:, TOKENS - n_q :], k, v, **options)
        calls.append((prepared, place(kernel, prepared.call, image)))
    before = [np.zeros(SIZE, np.uint8) for _ in range(kernel.n_channels)]
    image.write(before)
    plan = {
        "registers": {register.name: register.offset for register in kernel.registers},
        "words": {register.name: register.n_words for register in kernel.registers},
        "n_channels": kernel.n_channels,
        "calls": [],
    }
    for number, (prepared, task) in enumerate(calls):
        after = [part.copy() for part in before]
        write_outputs(after, prepared.expected, task, chip.block)
        for channel, part in enumerate(after):
            (folder / f"after_{number}_{channel}").write_bytes(part.tobytes())
        planned = planned_bytes(kernel, prepared.call)
        plan["calls"].append({"arguments": task.arguments, "bytes": planned})
    for channel, part in enumerate(before):
        (folder / f"before_{channel}").write_bytes(part.tobytes())
    (folder / "plan.json").write_text(json.dumps(plan))


def write_outputs(memory, expected, task, block):
    """Write what the exact model says to where the kernel should: one channel, block by block."""
    ((address, size),) = task.outputs
    heads, n_q, head_dim = expected.shape
    padded = -(-n_q // block) * block * head_dim * 4
    assert size == heads * padded
    channel, offset = divmod(address, CHANNEL_BYTES)
    for head in range(heads):
        content = expected[head].astype("<i4").tobytes()
        start = offset + head * padded
        memory[channel][start : start + len(content)] = np.frombuffer(content, np.uint8)
