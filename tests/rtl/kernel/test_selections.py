"""Calls with a selection through registers, AXI and memory: every bit, every byte, every rule."""

import numpy as np
import pytest

from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import CallError
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import Image
from qkloom.tb.kernel.task import SPARSE, planned_bytes
from qkloom.tb.stalls import Stall

from .conftest import CHIP
from .test_kernel import SHAPES


@pytest.fixture(autouse=True)
def _needs(require):
    require("compiler")


def mask_of(shape, kind, seed=0):
    """Return a selection of a call of a shape (heads, KV heads, queries, keys, head_dim)."""
    heads, _, n_q, n_kv, _ = shape
    rows, columns = (-(-n // CHIP.block) for n in (n_q, n_kv))
    if kind == "all":
        return np.ones((heads, rows, columns), bool)
    if kind == "none":
        return np.zeros((heads, rows, columns), bool)
    if kind == "sink":
        return np.broadcast_to(np.arange(columns) == 0, (heads, rows, columns))
    if kind == "last":
        return np.broadcast_to(np.arange(columns) == columns - 1, (heads, rows, columns))
    return np.random.default_rng(seed).random((heads, rows, columns)) < 0.3


@pytest.mark.parametrize("kind", ["random", "none", "sink", "last"])
@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_is_exact(bench, shape, options, kind):
    prepared = bench.call(*shape, **options, block_mask=mask_of(shape, kind))
    with bench.start() as simulation:
        bench.run([(prepared, None)], simulation)


@pytest.mark.parametrize(("shape", "options"), SHAPES[3:])
def test_all_blocks_are_dense_attention(bench, shape, options):
    dense = bench.call(*shape, **options)
    whole = bench.call(*shape, **options, block_mask=mask_of(shape, "all"))
    assert (whole.expected == dense.expected).all()
    assert planned_bytes(bench.kernel, whole.call) == planned_bytes(bench.kernel, dense.call)
    with bench.start() as simulation:
        bench.run([(whole, None)], simulation)


@pytest.mark.parametrize("order", ["in order", "bursts", "beats"])
def test_whatever_memory_does(bench, order):
    stalls = {name: Stall(0.4, seed=k) for k, name in enumerate(("refusals", "gaps", "delays"))}
    shape, options = SHAPES[4]
    calls = [
        (bench.call(*shape, **options, block_mask=mask_of(shape, "random", k)), None)
        for k in range(2)
    ]
    with bench.start(order=order, seed=5, latency=30, **stalls) as simulation:
        bench.run(calls, simulation, queued=True)


def test_what_nobody_selects_is_not_read(bench):
    """A tenth of the blocks, a tenth of the bytes; and less time."""
    shape, cycles = (2, 1, 128, 128, 16), []
    with bench.start() as simulation:
        for mask in (None, np.eye(16, dtype=bool)):
            call = bench.call(*shape, block_mask=mask)
            before = Host(simulation, bench.kernel.registers).read("k_bytes")
            image = Image(4)
            task = bench.place(call, image)
            image.write(bench.memory(simulation))
            host = Host(simulation, bench.kernel.registers)
            cycles.append(host.call(task.arguments, call.cycle_limit).cycles)
            assert bench.is_exact(call, task, simulation)
            moved = host.read("k_bytes") - before
            assert moved == planned_bytes(bench.kernel, call.call)["k"]
    assert cycles[1] < cycles[0] / 5


def test_with_a_block_table(bench):
    call = bench.call(
        4, 2, 9, 41, 16, causal=True, q_start=32, block_mask=mask_of((4, 2, 9, 41, 16), "random")
    )
    places = np.random.default_rng(1).permutation(20)[:12]
    with bench.start() as simulation:
        bench.run([(call, places)], simulation)


def test_calls_queue(bench):
    """With and without, one behind the other: nothing of a selection stays."""
    calls = []
    for k, (shape, options) in enumerate(SHAPES[2:6]):
        mask = mask_of(shape, "random", k) if k % 2 else None
        calls.append((bench.call(*shape, **options, block_mask=mask), None))
    with bench.start() as simulation:
        outcomes = bench.run(calls, simulation, queued=True)
    assert [outcome.code for outcome in outcomes] == [Code.OK] * 4


def test_nothing_is_kept_from_a_call(bench):
    """The same place holds another selection in the next one."""
    shape = (2, 1, 24, 32, 16)
    with bench.start() as simulation:
        host = Host(simulation, bench.kernel.registers)
        places = set()
        for seed in range(3):
            call = bench.call(*shape, block_mask=mask_of(shape, "random", seed))
            image = Image(4)
            task = bench.place(call, image)
            places.add(task.arguments["selection"])
            image.write(bench.memory(simulation))
            host.call(task.arguments, call.cycle_limit)
            assert bench.is_exact(call, task, simulation)
        assert len(places) == 1


def test_a_reset_in_the_middle(bench):
    """What was marked before it does not show."""
    shape = (8, 2, 64, 128, 16)
    long, short = (bench.call(*shape, block_mask=mask_of(shape, "random", k)) for k in range(2))
    with bench.start() as simulation:
        image = Image(4)
        tasks = [bench.place(call, image) for call in (long, short)]
        image.write(bench.memory(simulation))
        host = Host(simulation, bench.kernel.registers)
        for cycles in (150, 700, 3000):
            host.start(tasks[0].arguments)
            simulation.run(cycles, until_interrupt=False)
            host.reset()
            host.call(tasks[1].arguments, short.cycle_limit)
            assert bench.is_exact(short, tasks[1], simulation)
            assert simulation.violations == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (lambda given: {"selection": given["selection"] + 1}, Code.ALIGNMENT),
        (lambda given: {"selection": given["o_0"]}, Code.OVERLAP),
        (lambda given: {"flags": SPARSE | 4, "chunks": 1}, Code.KIND),
    ],
)
def test_refused(bench, changes, code):
    shape = (2, 1, 9, 17, 8)
    call = bench.call(*shape, block_mask=mask_of(shape, "random"))
    with bench.start() as simulation:
        image = Image(4)
        task = bench.place(call, image)
        image.write(bench.memory(simulation))
        host = Host(simulation, bench.kernel.registers)
        with pytest.raises(CallError) as caught:
            host.call(task.arguments | changes(task.arguments), call.cycle_limit)
        assert caught.value.code == code
        host.call(task.arguments, call.cycle_limit)
        assert bench.is_exact(call, task, simulation)


def test_engines_agree(bench):
    shape = (2, 1, 17, 17, 4)
    call = bench.call(*shape, causal=True, block_mask=mask_of(shape, "random", 1))
    cycles = set()
    for engine in ("cxxrtl", "pysim"):
        with bench.start(engine) as simulation:
            (outcome,) = bench.run([(call, None)], simulation)
            cycles.add((outcome.cycles, simulation.cycle))
    assert len(cycles) == 1
