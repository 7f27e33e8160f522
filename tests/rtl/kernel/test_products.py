"""Products of matrices through registers, AXI and memory: every bit, every byte, every rule."""

import numpy as np
import pytest

from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import CallError
from qkloom.tb.gemm import Product, exact_gemm
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import Image
from qkloom.tb.kernel.product import place_product, planned_product_bytes
from qkloom.tb.stalls import Stall

from .conftest import CHIP

LIMIT = 60_000


@pytest.fixture(autouse=True)
def _needs(require):
    require("compiler")


def product(m, k, n, *, head_dim=8, side=1, seed=0):
    """Return a product of random matrices, some of whose outputs are clipped."""
    rng = np.random.default_rng(seed)
    x, w = (rng.integers(-128, 128, (rows, k)).astype(np.int8) for rows in (m, n))
    groups = n // head_dim
    mantissa = rng.integers(1 << 16, 1 << 17, groups)
    shift = np.full(groups, round(np.log2(128 * 128 * np.sqrt(k) / 3)) + 16 - 13 - 6)
    return Product(x, w, mantissa, shift, head_dim=head_dim, side=side)


SHAPES = [
    product(1, 8, 8),
    product(8, 8, 16, side=2),
    product(17, 24, 24, side=3),
    product(9, 20, 12, head_dim=4, side=1),
    product(40, 64, 64, side=4),
    product(128, 16, 32, side=2),
]


def run(bench, simulation, products, *, queued=False):
    """Run products; every byte must be the exact model's, and no other may change."""
    image = Image(4)
    tasks = [place_product(bench.kernel, given, image) for given in products]
    image.write(bench.memory(simulation))
    host = Host(simulation, bench.kernel.registers)
    if queued:
        for task in tasks:
            host.start(task.arguments)
        for _ in tasks:
            assert host.wait(LIMIT).code == Code.OK
    else:
        for task in tasks:
            host.call(task.arguments, LIMIT)
    memory = bench.memory(simulation)
    for given, task in zip(products, tasks, strict=True):
        expected = exact_gemm(given, CHIP.numerics)
        assert np.unique(expected).size > 2
        assert (task.result(memory) == expected).all()
    assert image.changed(memory) == []
    assert simulation.violations == ()
    each = [planned_product_bytes(bench.kernel, given) for given in products]
    planned = {name: sum(one[name] for one in each) for name in "qkvo"}
    assert {name: host.read(f"{name}_bytes") for name in "qkvo"} == planned
    assert host.read("stall_v") == 0


@pytest.mark.parametrize("given", SHAPES, ids=lambda p: f"{p.x.shape}x{len(p.w)}")
def test_is_exact(bench, given):
    with bench.start() as simulation:
        run(bench, simulation, [given])


def test_whatever_memory_does(bench):
    stalls = {name: Stall(0.4, seed=k) for k, name in enumerate(("refusals", "gaps", "delays"))}
    with bench.start(order="beats", seed=5, latency=30, **stalls) as simulation:
        run(bench, simulation, [SHAPES[2], SHAPES[3]])


def test_queue(bench):
    with bench.start() as simulation:
        run(bench, simulation, SHAPES[:4], queued=True)


def test_attention_between_products(bench):
    """Neither leaves anything behind that the other one sees."""
    given, prepared = SHAPES[2], bench.call(8, 2, 20, 41, 16, causal=True, q_start=21)
    with bench.start() as simulation:
        image = Image(4)
        tasks = [place_product(bench.kernel, given, image) for _ in range(2)]
        attention = bench.place(prepared, image)
        image.write(bench.memory(simulation))
        host = Host(simulation, bench.kernel.registers)
        calls = [tasks[0], attention, tasks[1]]
        for task in calls:
            host.start(task.arguments)
        for _ in calls:
            assert host.wait(prepared.cycle_limit).code == Code.OK
        memory = bench.memory(simulation)
        for task in tasks:
            assert (task.result(memory) == exact_gemm(given, CHIP.numerics)).all()
        assert bench.is_exact(prepared, attention, simulation)
        assert image.changed(memory) == []


def test_the_next_layer_takes_what_the_last_one_left(bench):
    """Outputs lie as activations do: two layers in a row, nothing moved by the host."""
    first = product(20, 24, 32, side=2)
    hidden = exact_gemm(first, CHIP.numerics)
    second = product(20, 32, 16, side=1, seed=1)
    second = Product(hidden, second.w, second.mantissa, second.shift, head_dim=8)
    with bench.start() as simulation:
        image = Image(4)
        one, two = (place_product(bench.kernel, given, image) for given in (first, second))
        image.write(bench.memory(simulation))
        # Pointers to activations are those of the outputs before, part by part.
        moved = {f"q_{k}": one.arguments[f"o_{k}"] for k in range(len(one.outputs))}
        assert len(moved) == len(bench.kernel.channels["q"])
        host = Host(simulation, bench.kernel.registers)
        for arguments in (one.arguments, two.arguments | moved):
            host.start(arguments)
        for _ in range(2):
            assert host.wait(LIMIT).code == Code.OK
        expected = exact_gemm(second, CHIP.numerics)
        assert (two.result(bench.memory(simulation)) == expected).all()


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"chunks": 9}, Code.CHUNKS), ({"n_kv": 16}, Code.KEYS), ({"head_dim": 16}, Code.HEAD_DIM)],
)
def test_refused(bench, changes, code):
    with bench.start() as simulation:
        image = Image(4)
        task = place_product(bench.kernel, SHAPES[2], image)
        image.write(bench.memory(simulation))
        host = Host(simulation, bench.kernel.registers)
        with pytest.raises(CallError) as caught:
            host.call(task.arguments | changes, LIMIT)
        assert caught.value.code == code
        host.call(task.arguments, LIMIT)
        expected = exact_gemm(SHAPES[2], CHIP.numerics)
        assert (task.result(bench.memory(simulation)) == expected).all()


def test_outputs_over_weights(bench):
    with bench.start() as simulation:
        image = Image(4)
        task = place_product(bench.kernel, SHAPES[2], image)
        host = Host(simulation, bench.kernel.registers)
        with pytest.raises(CallError) as caught:
            host.call(task.arguments | {"o_0": task.arguments["k_0"]}, LIMIT)
        assert caught.value.code == Code.OVERLAP
