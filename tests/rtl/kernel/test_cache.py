"""Calls with a selection through the cache of KV blocks: every bit, every byte, every decision."""

import numpy as np
import pytest

from qkloom.gen.chip import read_chip
from qkloom.gen.index.hardware import prepare_index
from qkloom.rtl.component import pass_over
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.errors import CallError
from qkloom.tb.index.exact import CoverageRule
from qkloom.tb.kernel.cached import count_events, events_by_model, replay_cache
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image
from qkloom.tb.kernel.index import place_index
from qkloom.tb.memory import Fault
from qkloom.tb.stalls import Stall

from . import test_faults
from .conftest import CHIP, KernelBench
from .test_kernel import SHAPES
from .test_selections import mask_of

CACHE = {"hot_blocks": 2, "cold_blocks": 3, "split": True, "window_slots": 2, "hot_threshold": 0.4}
"""Fewer block pairs than most calls have blocks, of both tiers."""

LARGE = ((4, 2, 64, 128, 16), {"causal": True, "q_start": 64})
"""More blocks than there are slots."""

KINDS = ("random", "none", "sink", "last", "all")


@pytest.fixture(scope="session")
def cached():
    """Return a bench of the kernel with a cache."""
    return KernelBench(CHIP.replace(cache=CACHE))


@pytest.fixture
def _compiles(require):
    require("compiler")


def by_model(bench, calls):
    """Return what the kernel is to count of its cache, by the exact model."""
    each = [events_by_model(replay_cache(bench.kernel, call)) for call in calls]
    return {name: sum(one[name] for one in each) for name in each[0]}


def run(bench, calls, simulation, **options):
    """Run calls; check what the cache has counted, too."""
    host = Host(simulation, bench.kernel.registers)
    before = count_events(host)
    bench.run([(call, None) for call in calls], simulation, **options)
    after = count_events(host)
    sparse = [call.call for call in calls if call.call.block_mask is not None]
    found = {name: after[name] - before[name] for name in after}
    if sparse:
        assert found == by_model(bench, sparse)
    else:
        assert not any(found.values())
    return found


@pytest.mark.usefixtures("_compiles")
class TestCalls:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_exact(self, cached, kind):
        found = {}
        for shape, options in (*SHAPES, LARGE):
            call = cached.call(*shape, **options, block_mask=mask_of(shape, kind))
            with cached.start() as simulation:
                for name, n in run(cached, [call], simulation).items():
                    found[name] = found.get(name, 0) + n
        if kind == "random":
            assert all(found.values())

    @pytest.mark.parametrize("order", ["in order", "bursts", "beats"])
    def test_whatever_memory_does(self, cached, order):
        """Decisions are those of the model however long memory takes."""
        stalls = {name: Stall(0.4, seed=k) for k, name in enumerate(("refusals", "gaps", "delays"))}
        shape, options = SHAPES[4]
        calls = [
            cached.call(*shape, **options, block_mask=mask_of(shape, "random", k)) for k in range(2)
        ]
        with cached.start(order=order, seed=5, latency=300, **stalls) as simulation:
            run(cached, calls, simulation, queued=True)

    def test_of_all_kinds_queue(self, cached):
        """Calls with a selection and without, one behind the other: nothing of either stays."""
        calls = []
        for k, (shape, options) in enumerate(SHAPES):
            mask = mask_of(shape, "random", k) if k % 2 else None
            calls.append(cached.call(*shape, **options, block_mask=mask))
        with cached.start() as simulation:
            run(cached, calls[:4], simulation, queued=True)
        with cached.start() as simulation:
            run(cached, calls[4:], simulation, queued=True)

    def test_with_a_block_table(self, cached):
        shape = (4, 2, 9, 41, 16)
        call = cached.call(*shape, causal=True, q_start=32, block_mask=mask_of(shape, "random"))
        places = np.random.default_rng(1).permutation(20)[:12]
        with cached.start() as simulation:
            cached.run([(call, places)], simulation)

    def test_nothing_is_kept_from_a_call(self, cached):
        """The same places hold other tensors, and another selection, in the next one."""
        shape = (2, 1, 24, 32, 16)
        with cached.start() as simulation:
            host = Host(simulation, cached.kernel.registers)
            for seed in range(3):
                mask = mask_of(shape, "random", seed)
                call = cached.call(*shape, seed=seed, block_mask=mask)
                image = Image(4)
                task = cached.place(call, image)
                image.write(cached.memory(simulation))
                host.call(task.arguments, call.cycle_limit)
                assert cached.is_exact(call, task, simulation)

    def test_what_is_kept_is_not_read_again(self, cached):
        """Four blocks that all queries need, and five slots: each is read once."""
        shape = (2, 1, 128, 128, 16)
        call = cached.call(*shape, block_mask=np.broadcast_to(np.arange(16) < 4, (2, 16, 16)))
        with cached.start() as simulation:
            found = run(cached, [call], simulation)
        assert found["fills_cold"] + found["fills_hot"] == 4
        assert found["bypasses"] == 0

    def test_selects_by_itself(self, cached):
        """An index call writes a selection, which the next call reads, without a host between."""
        rng = np.random.default_rng(4)
        q, k, v = (rng.normal(size=(n, 60, 16)) for n in (4, 2, 2))
        rule = CoverageRule(gamma=0.7, tau=0.25, min_budget=0)
        selecting = prepare_index(cached.chip, cached.kernel, cached.quantized(q, k), rule)
        call = cached.prepare(q, k, v, causal=True, block_mask=selecting.masks)
        image = Image(4)
        index_task = place_index(cached.kernel, selecting.call, image)
        task = cached.place(call, image, selection=index_task.selection)
        with cached.start() as simulation:
            image.write(cached.memory(simulation))
            host = Host(simulation, cached.kernel.registers)
            host.start(index_task.arguments)
            host.start(task.arguments)
            for _ in range(2):
                assert host.wait(1_000_000).code == Code.OK
            assert cached.is_exact(call, task, simulation)
            assert count_events(host) == by_model(cached, [call.call])


class Trial(test_faults.Trial):
    """One call with a selection, run as often as one likes."""

    SHAPE = (4, 2, 25, 41, 16)

    def __init__(self, bench, simulation):
        super().__init__(bench, simulation)
        self.prepared = bench.call(*self.SHAPE, block_mask=mask_of(self.SHAPE, "random"))
        self.image = Image(4)
        self.task = bench.place(self.prepared, self.image)
        self.image.write(bench.memory(simulation))

    def check_works(self):
        """Run the call; decisions are the model's, whatever was broken off before."""
        before = count_events(self.host)
        super().check_works()
        after = count_events(self.host)
        found = {name: after[name] - before[name] for name in after}
        assert found == by_model(self.bench, [self.prepared.call])


@pytest.mark.usefixtures("_compiles")
class TestFaults:
    @pytest.mark.parametrize("kind", ["slverr", "decerr"])
    @pytest.mark.parametrize(("port", "beat"), [(0, 0), (0, 40), (1, 17), (2, 0), (2, 25)])
    def test_on_a_fill_or_a_row_of_the_selection(self, cached, kind, port, beat):
        with cached.start() as simulation:
            trial = Trial(cached, simulation)
            simulation.set_faults([Fault(kind, "read", port=port, beat=beat)])
            with pytest.raises(CallError, match=rf"code \d+, {kind.upper()}: "):
                trial.run()
            trial.check_untouched()
            simulation.set_faults([])
            trial.host.reset()
            trial.check_works()

    @pytest.mark.parametrize("port", [0, 1, 2])
    def test_memory_that_stops(self, cached, port):
        with cached.start() as simulation:
            trial = Trial(cached, simulation)
            simulation.set_faults([Fault("stall", "read", port=port, beat=20)])
            with pytest.raises(CallError, match=r"code 18, TIMEOUT: "):
                trial.run()
            trial.check_untouched()
            simulation.set_faults([])
            trial.host.reset()
            trial.check_works()

    def test_a_selection_that_changes_during_a_call(self, cached):
        """It is read twice; a call that has read two different ones does not end as if well."""
        with cached.start() as simulation:
            trial = Trial(cached, simulation)
            begin = trial.task.arguments["selection"]
            channel, offset = divmod(begin, CHANNEL_BYTES)
            rows = simulation.memory[channel][offset : offset + 16 * 16]
            ends = []
            for after in range(200, 2_400, 200):
                trial.image.write(cached.memory(simulation))
                trial.host.start(trial.task.arguments)
                simulation.run(after, until_interrupt=False)
                rows[:] ^= 0x0F
                ends.append(trial.host.wait(trial.prepared.cycle_limit).code)
                trial.image.write(cached.memory(simulation))
                if ends[-1] != Code.OK:
                    assert ends[-1] == Code.CHANGED
                    with pytest.raises(CallError, match=r"code 19, CHANGED: "):
                        trial.run()  # it stays so
                    trial.host.reset()
                trial.check_works()
        assert set(ends) == {Code.OK, Code.CHANGED}

    def test_reset_at_any_time(self, cached):
        slow = {"gaps": Stall(0.5, seed=2), "delays": Stall(0.3, seed=3)}
        with cached.start(order="beats", latency=60, **slow) as simulation:
            trial = Trial(cached, simulation)
            begin = simulation.cycle
            trial.check_works()
            longest = simulation.cycle - begin
            for after in range(1, longest, longest // 60):
                trial.host.start(trial.task.arguments)
                simulation.run(after, until_interrupt=False)
                trial.host.reset()
                trial.check_untouched()
                trial.check_works()


VARIANTS = {
    "one block": ({"cold_blocks": 1}, 2),
    "one hot block, three lanes": ({"hot_blocks": 1}, 3),
    "liveness": ({"policy": "liveness", "hot_blocks": 1, "cold_blocks": 2}, 2),
    "lru": ({"policy": "lru", "cold_blocks": 2, "lane_blocks": 1}, 2),
    "none": ({"policy": "none", "cold_blocks": 2, "window_slots": 3}, 2),
    "all blocks, a lane": ({"cold_blocks": 16, "lookahead": 5, "window_slots": 4}, 1),
}


def plain_chip(cache, n_lanes):
    """Return a chip with a cache, and without what the plain engine takes long for."""
    tables = CHIP.model_dump(exclude_none=True) | {
        "lanes": [{"matrix": "plain", "n": n_lanes}],
        "gemm": False,
        "index": "dense",
        "cache": cache,
    }
    return read_chip(tables)


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_are_those_of_any_cache(variant):
    """Size, policy, window and lanes change when, and never what."""
    bench = KernelBench(plain_chip(*VARIANTS[variant]))
    shape, options = (2, 1, 17, 26, 8), {"causal": True, "q_start": 9}
    call = bench.call(*shape, **options, block_mask=mask_of(shape, "random", 3))
    with bench.start("pysim") as simulation:
        run(bench, [call], simulation)


def test_all_query_blocks_of_the_only_head():
    """As many as there are numbers for: what is hot is a share of them, and not of none."""
    chip = plain_chip({"hot_blocks": 1, "cold_blocks": 1}, 2).replace(heads=1, tokens=64)
    bench = KernelBench(chip)
    shape = (1, 1, 64, 64, 8)
    call = bench.call(*shape, block_mask=mask_of(shape, "random", 3))
    with bench.start("pysim") as simulation:
        run(bench, [call], simulation)


def test_windows_that_are_not_told_apart():
    """Decisions are the model's in a call of more windows than the outlook has bits for."""
    chip = plain_chip({"cold_blocks": 2}, 1)
    cache = dict(chip.kernel_parameters["cache"])
    few = KernelBench(chip, cache=(*(cache | {"windows": 2}).items(),))
    shape = (3, 1, 25, 30, 8)
    call = few.call(*shape, block_mask=mask_of(shape, "random", 1))
    pass_over(all_apart := Kernel(**chip.kernel_parameters))
    known = events_by_model(replay_cache(all_apart, call.call))
    with few.start("pysim") as simulation:
        assert run(few, [call], simulation) != known
