"""The Verilog that is generated, before a host and memories by somebody else."""

import json
from pathlib import Path

import numpy as np

from qkloom.gen.call import build_kernel, prepare
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
from qkloom.platforms.targets import TARGETS
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image
from qkloom.tb.kernel.task import place
from qkloom.tb.tensors import default_tensors

from .harness import build, run

TOKENS = 32


def plan(chip, kernel):
    """Return what the test module does: memory before and after, and registers to write."""
    tensors = default_tensors()
    q, k, v = (np.asarray(x)[..., :1, :TOKENS, :] for x in tensors)
    prepared = prepare(chip, q, k, v, causal=True)
    image = Image(kernel.n_channels)
    task = place(kernel, prepared.call, image)
    size = 1 << (max(image.sizes) - 1).bit_length()
    before = [np.zeros(size, np.uint8) for _ in image.sizes]
    image.write(before)
    after = [part.copy() for part in before]
    words = np.zeros((prepared.expected.shape[-2], prepared.call.q.shape[2]), "<i4")
    words[:, : prepared.expected.shape[-1]] = prepared.expected.reshape(words.shape[0], -1)
    assert len(task.outputs) == 1 and TOKENS % chip.block == 0  # no filling between blocks
    (address, n_bytes), stored = task.outputs[0], words.reshape(-1).view(np.uint8)
    channel, offset = divmod(address, CHANNEL_BYTES)
    assert n_bytes == len(stored)
    after[channel][offset : offset + n_bytes] = stored
    registers = {register.name: register for register in kernel.registers}
    writes = [
        (registers[name].offset + 4 * word, value >> 32 * word & 0xFFFFFFFF)
        for name, value in task.arguments.items()
        for word in range(registers[name].n_words)
    ]
    return {
        "channel_bytes": CHANNEL_BYTES,
        "sizes": [size] * len(before),
        "before": [part.tobytes().hex() for part in before],
        "after": [part.tobytes().hex() for part in after],
        "writes": writes,
        "error": registers["error"].offset,
        "max_cycles": 10 * prepared.cycle_limit,
    }


def test_attention_on_real_tensors(require, tmp_path):
    for tool in ("verilator", "compiler", "cocotb"):
        require(tool)
    chip = read_chip("u280-tiny")
    kernel = build_kernel(chip)
    design = emit(kernel, name=chip.identifier, verilog=True, target=TARGETS[chip.target])
    sources = {"u280-tiny.v": design.verilog, "primitives.v": design.primitives}
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "plan.json").write_text(json.dumps(plan(chip, kernel)))
    folder = build([tmp_path / name for name in sources], top=design.name)
    passed = run(
        folder,
        top=design.name,
        module=Path(__file__).parent / "bench_kernel.py",
        scratch=tmp_path,
        environment={"PLAN": str(tmp_path / "plan.json")},
    )
    assert passed == 1
