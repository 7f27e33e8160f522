"""A kernel small enough to be built in seconds, and a bench around it."""

import numpy as np
import pytest

from qkloom.gen.call import prepare
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.deal import Call
from qkloom.tb.kernel import start_kernel
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image
from qkloom.tb.kernel.task import place, planned_bytes, planned_selection_bytes
from qkloom.tb.memory import MemoryModel
from qkloom.tb.quantize import quantize
from qkloom.tb.stalls import FREE

CHIP = read_chip(
    {
        "name": "mini",
        "lanes": [{"matrix": "plain", "n": 2}],
        "clock_mhz": 175.0,
        "size": 4,
        "block": 8,
        "head_dim": 16,
        "tokens": 128,
        "heads": 8,
        "gemm": True,
        "sparse": True,
        "index": {"method": "coverage", "heads_ahead": 1},
        "memory": {"channels": 4},
    }
)
TIMEOUT = 4_000
STORAGE = 1 << 17


class KernelBench:
    """Runs calls on the kernel, and looks at everything that must hold in every run."""

    def __init__(self, chip=CHIP, **changes):
        self.chip = chip
        self.kernel = Kernel(**chip.kernel_parameters | changes, timeout=TIMEOUT)
        self.design = emit(self.kernel, verilog=True)

    def start(self, engine="cxxrtl", *, host=FREE, **model):
        """Return a simulation of the kernel before a memory; the host stalls as it says."""
        memory = MemoryModel(
            clock_hz=175_000_000,
            n_channels=4,
            channel_bytes=CHANNEL_BYTES,
            storage_bytes=STORAGE,
            **model,
        )
        return start_kernel(self.design, memory, engine, stalls=host)

    def call(self, heads, kv_heads, n_q, n_kv, head_dim, *, seed=0, **options):
        """Return a call on random tensors, with its answer."""
        rng = np.random.default_rng(seed)
        q = rng.normal(size=(heads, n_q, head_dim))
        k, v = rng.normal(size=(2, kv_heads, n_kv, head_dim))
        return prepare(self.chip, q, k, v, **options)

    def prepare(self, q, k, v, **options):
        """Return a call on tensors, with its answer."""
        return prepare(self.chip, q, k, v, **options)

    def quantized(self, q, k):
        """Return queries and keys (heads, tokens, head_dim) as the kernel takes them."""
        operands = quantize(q, k, k, self.chip.numerics)
        padding = ((0, 0), (0, 0), (0, -q.shape[-1] % self.chip.size))
        tensors = (np.pad(x, padding) for x in (operands.q, operands.k, operands.k))
        return Call(*tensors, operands.mantissa, operands.shift, causal=True)

    def place(self, prepared, image, places=None, selection=None):
        """Place a call in an image."""
        return place(self.kernel, prepared.call, image, places, selection)

    def memory(self, simulation):
        """Return the arrays of all channels."""
        return [simulation.memory[channel] for channel in range(4)]

    def is_exact(self, prepared, task, simulation):
        """Tell whether the outputs in memory are the exact model's."""
        got = task.result(self.memory(simulation))[..., : prepared.expected.shape[-1]]
        return bool((got == prepared.expected.reshape(got.shape)).all())

    def run(self, calls, simulation, *, queued=False):
        """Run calls (prepared, places or None); return the outcomes."""
        image = Image(4)
        tasks = [self.place(prepared, image, places) for prepared, places in calls]
        image.write(self.memory(simulation))
        host = Host(simulation, self.kernel.registers)
        limit = sum(prepared.cycle_limit for prepared, _ in calls)
        if queued:
            for task in tasks:
                host.start(task.arguments)
            outcomes = [host.wait(limit) for _ in tasks]
            assert {outcome.code for outcome in outcomes} == {Code.OK}
        else:
            outcomes = [host.call(task.arguments, limit) for task in tasks]
        for (prepared, _), task in zip(calls, tasks, strict=True):
            assert self.is_exact(prepared, task, simulation)
        assert image.changed(self.memory(simulation)) == []
        assert simulation.violations == ()
        self.check_bytes(calls, host, simulation)
        return outcomes

    def check_bytes(self, calls, host, simulation):
        """Compare what was planned, what the kernel counted, and what each channel did."""
        each = [planned_bytes(self.kernel, prepared.call) for prepared, _ in calls]
        planned = {name: sum(one[name] for one in each) for name in "qkvo"}
        assert {name: host.read(f"{name}_bytes") for name in "qkvo"} == planned
        ports = {name: simulation.counters[self.kernel.channels[name][0]] for name in "qkvo"}
        assert ports["k"].read_bytes == planned["k"]
        assert ports["v"].read_bytes == planned["v"]
        assert ports["o"].write_bytes == planned["o"]
        # Tables are whole beats beside the queries: one at least for each call.
        rows = sum(planned_selection_bytes(self.kernel, prepared.call) for prepared, _ in calls)
        tables, rest = divmod(
            ports["q"].read_bytes - planned["q"] - rows, self.chip.data_width // 8
        )
        assert tables >= len(calls) and not rest
        assert not any(ports[name].write_bytes for name in "qkv") and not ports["o"].read_bytes
        for port in ports.values():
            assert (port.reads_left, port.writes_left) == (0, 0)


@pytest.fixture(scope="session")
def bench():
    """Return the bench; its simulator is built once."""
    return KernelBench()
