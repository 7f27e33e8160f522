"""Attention through registers, AXI and memory: every bit, every byte, every rule."""

import numpy as np
import pytest

from qkloom.rtl.kernel.code import Code
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import Image
from qkloom.tb.stalls import Stall

SHAPES = [
    ((1, 1, 1, 1, 4), {}),
    ((1, 1, 8, 8, 16), {}),
    ((2, 1, 7, 9, 8), {}),
    ((3, 3, 9, 17, 12), {}),
    ((8, 2, 20, 41, 16), {"causal": True, "q_start": 21}),
    ((4, 4, 33, 33, 16), {"causal": True}),
    ((2, 2, 24, 10, 8), {"causal": True, "q_start": -11}),
    ((6, 2, 3, 128, 16), {"causal": True, "q_start": 100}),
]


@pytest.fixture(autouse=True)
def _needs(require):
    require("compiler")


class TestAttention:
    @pytest.mark.parametrize(("shape", "options"), SHAPES)
    def test_is_exact(self, bench, shape, options):
        with bench.start() as simulation:
            bench.run([(bench.call(*shape, **options), None)], simulation)

    @pytest.mark.parametrize("order", ["in order", "bursts", "beats"])
    def test_whatever_memory_does(self, bench, order):
        stalls = {
            "refusals": Stall(0.4, seed=1),
            "gaps": Stall(0.3, seed=2),
            "delays": Stall(0.5, seed=3),
        }
        calls = [(bench.call(*SHAPES[4][0], **SHAPES[4][1]), None)]
        with bench.start(order=order, seed=5, latency=30, **stalls) as simulation:
            bench.run(calls, simulation)

    def test_whatever_the_host_does(self, bench):
        calls = [(bench.call(*shape, **options), None) for shape, options in SHAPES[1:4]]
        with bench.start(host=Stall(0.6, burst=2, seed=4)) as simulation:
            bench.run(calls, simulation, queued=True)

    def test_calls_queue(self, bench):
        calls = [(bench.call(*shape, **options), None) for shape, options in SHAPES[1:5]]
        with bench.start() as simulation:
            outcomes = bench.run(calls, simulation, queued=True)
        assert [outcome.code for outcome in outcomes] == [Code.OK] * 4

    def test_block_table(self, bench):
        paged = bench.call(4, 2, 9, 41, 16, causal=True, q_start=32)
        places = np.random.default_rng(1).permutation(20)[:12]
        plain = bench.call(2, 2, 9, 41, 16)
        with bench.start() as simulation:
            bench.run([(paged, places), (plain, None), (plain, places)], simulation)

    def test_nothing_is_kept_from_a_call(self, bench):
        """The same places hold other tensors, factors and tables in the next one."""
        # A table of one beat: the last one that was read is the first one that is asked for.
        places = [np.random.default_rng(seed).permutation(4) for seed in (1, 2)]
        with bench.start() as simulation:
            host = Host(simulation, bench.kernel.registers)
            for seed in range(2):
                call = bench.call(2, 1, 9, 32, 16, seed=seed)
                image = Image(4)
                task = bench.place(call, image, places[seed])
                image.write(bench.memory(simulation))
                host.call(task.arguments, call.cycle_limit)
                assert bench.is_exact(call, task, simulation)

    @pytest.mark.parametrize(
        ("shape", "engines"),
        [((2, 1, 9, 17, 8), ("cxxrtl", "verilator")), ((1, 1, 2, 3, 4), ("cxxrtl", "pysim"))],
    )
    def test_engines_agree(self, bench, require, shape, engines):
        if "verilator" in engines:
            require("verilator")
        call = bench.call(*shape, causal=True, q_start=shape[3] - shape[2])
        cycles = set()
        for engine in engines:
            with bench.start(engine) as simulation:
                (outcome,) = bench.run([(call, None)], simulation)
                cycles.add((outcome.cycles, simulation.cycle))
        assert len(cycles) == 1


class TestRegisters:
    def test_are_as_described(self, bench):
        registers = {register.name: register for register in bench.kernel.registers}
        assert registers["control"].offset == 0
        assert registers["q_0"].offset == 0x10
        names = [name for name in registers if name.startswith("stall_")]
        assert names == ["stall_q", "stall_k", "stall_v", "stall_o"]


class TestStalls:
    def stalls(self, bench, n_q, n_kv, **memory):
        prepared = bench.call(4, 4, n_q, n_kv, 16)
        with bench.start(**memory) as simulation:
            bench.run([(prepared, None)], simulation)
            host = Host(simulation, bench.kernel.registers)
            return {name: host.read(f"stall_{name}") for name in "qkvo"}

    @pytest.mark.parametrize("latency", [1, 100, 400])
    def test_are_what_memory_owes(self, bench, latency):
        """The first block of each has to be waited for; the others are there when lanes are."""
        found = self.stalls(bench, 64, 128, latency=latency)
        assert found.pop("o") == 0
        assert all(latency <= n <= latency + 60 for n in found.values()), found

    def test_outputs_that_wait_are_counted(self, bench):
        slow = {name: Stall(0.98, seed=k) for k, name in enumerate(("refusals", "gaps"))}
        assert self.stalls(bench, 64, 4, **slow)["o"] > 100
