"""Calls that select: queries and keys in memory, selections and records out, every bit and byte."""

import numpy as np
import pytest

from qkloom.gen.index.hardware import prepare_index
from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import CallError
from qkloom.tb.index.exact import CoverageRule
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import Image
from qkloom.tb.kernel.index import place_index
from qkloom.tb.memory import Fault
from qkloom.tb.stalls import Stall

from .conftest import CHIP

SOME = CoverageRule(gamma=0.7, tau=0.25, min_budget=0)
"""A rule that finds heads of both kinds among random ones."""

SHAPES = [
    (1, 1, 1, 4),
    (1, 1, 7, 16),
    (2, 1, 8, 16),  # a block
    (2, 2, 9, 8),  # two KV heads in a round
    (3, 1, 37, 12),  # more heads than lanes: keys come twice
    (8, 2, 40, 16),
    (5, 5, 33, 16),
    (2, 1, 128, 16),  # all that the tables hold
]


@pytest.fixture(autouse=True)
def _needs(require):
    require("compiler")


def index_call(bench, heads, kv_heads, tokens, head_dim, *, rule=SOME, seed=0, spread=1.0):
    """Return a call on random queries and keys, larger ones with sharper attention."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(heads, tokens, head_dim)) * spread
    k = rng.normal(size=(kv_heads, tokens, head_dim))
    return prepare_index(CHIP, bench.kernel, bench.quantized(q, k), rule)


class Trial:
    """Calls in the memory of a simulation."""

    def __init__(self, bench, simulation, calls, places=None):
        self.bench, self.simulation, self.calls = bench, simulation, calls
        self.image = Image(4)
        self.tasks = [place_index(bench.kernel, c.call, self.image, places) for c in calls]
        self.image.write(bench.memory(simulation))
        self.host = Host(simulation, bench.kernel.registers)

    def run(self):
        """Run them one after the other: all must be the model's, and every byte planned."""
        memory = self.bench.memory(self.simulation)
        for call, task in zip(self.calls, self.tasks, strict=True):
            selected = call.run(task, self.host, memory)
            assert selected.bit_exact
            assert selected.n_bytes == {name: call.planned[name] for name in "qkv"}
            assert sum(selected.head_cycles) <= selected.cycles
        self.check_untouched()

    def check_untouched(self):
        assert self.image.changed(self.bench.memory(self.simulation)) == []
        assert self.simulation.violations == ()


@pytest.mark.parametrize("shape", SHAPES)
def test_is_exact(bench, shape):
    with bench.start() as simulation:
        Trial(bench, simulation, [index_call(bench, *shape)]).run()


def test_both_kinds_of_heads(bench):
    kinds = set()
    for spread in (0.01, 3.0):
        call = index_call(bench, 4, 2, 100, 16, spread=spread)
        kinds |= {head.verdict.is_aware for head in call.expected}
        with bench.start() as simulation:
            Trial(bench, simulation, [call]).run()
    assert kinds == {False, True}


@pytest.mark.parametrize(
    "rule",
    [
        CoverageRule(gamma=1),
        CoverageRule(gamma=0, min_budget=0, tau=0),
        CoverageRule(gamma=0.9, tau=1, min_budget=16),
        CoverageRule(gamma=0.99, tau=0, min_budget=8, max_budget=24),
    ],
)
def test_rules(bench, rule):
    call = index_call(bench, 4, 2, 90, 16, rule=rule)
    if rule.gamma == 1:
        assert (call.masks == np.tril(np.ones((12, 12), bool))).all()
    with bench.start() as simulation:
        Trial(bench, simulation, [call]).run()


@pytest.mark.parametrize("order", ["in order", "bursts", "beats"])
def test_whatever_memory_does(bench, order):
    stalls = {name: Stall(0.4, seed=k) for k, name in enumerate(("refusals", "gaps", "delays"))}
    calls = [index_call(bench, *shape, seed=k) for k, shape in enumerate(SHAPES[3:6])]
    with bench.start(order=order, seed=5, latency=30, **stalls) as simulation:
        Trial(bench, simulation, calls).run()


def test_degenerate_scores(bench):
    """All equal, and all at minus full scale: as was foretold, so that pairs are compared."""
    flat = np.zeros((2, 64, 16))
    low = np.ones((2, 64, 16))
    for q, k in ((flat, flat), (low, -low)):
        call = prepare_index(CHIP, bench.kernel, bench.quantized(q, k), SOME)
        with bench.start() as simulation:
            trial = Trial(bench, simulation, [call])
            trial.run()
            heads = trial.tasks[0].results(bench.memory(simulation))
        assert all(head.is_aware for head in heads)


def test_with_a_block_table(bench):
    call = index_call(bench, 4, 2, 41, 16)
    places = np.random.default_rng(1).permutation(20)[:12]
    with bench.start() as simulation:
        Trial(bench, simulation, [call], places).run()


def test_attention_reads_what_was_selected(bench):
    """In one go, between other calls: nobody but the kernel touches the selection."""
    rng = np.random.default_rng(3)
    q = rng.normal(size=(4, 77, 16)) * 2
    k, v = rng.normal(size=(2, 2, 77, 16))
    selecting = []

    def choose(call):
        selecting.append(prepare_index(CHIP, bench.kernel, call, SOME))
        return selecting[-1].masks

    sparse = bench.prepare(q, k, v, causal=True, choose=choose)
    dense = bench.prepare(q, k, v, causal=True)
    assert not selecting[0].masks.all(axis=(1, 2)).any()
    with bench.start() as simulation:
        image = Image(4)
        index = selecting[0].place(bench.kernel, image)
        before = bench.place(dense, image)
        behind = bench.place(sparse, image, selection=index.selection)
        image.write(bench.memory(simulation))
        host = Host(simulation, bench.kernel.registers)
        for task in (before, index, behind, before):
            host.start(task.arguments)
        limit = selecting[0].cycle_limit + 3 * dense.cycle_limit
        assert [host.wait(limit).code for _ in range(4)] == [Code.OK] * 4
        assert (index.masks(bench.memory(simulation)) == selecting[0].masks).all()
        assert bench.is_exact(dense, before, simulation)
        assert bench.is_exact(sparse, behind, simulation)
        assert image.changed(bench.memory(simulation)) == []


def test_all_selected_is_dense_attention(bench):
    rng = np.random.default_rng(4)
    q, k, v = rng.normal(size=(3, 2, 50, 16))

    def choose(call):
        return prepare_index(CHIP, bench.kernel, call, CoverageRule(gamma=1)).masks

    whole = bench.prepare(q, k, v, causal=True, choose=choose)
    assert (whole.expected == bench.prepare(q, k, v, causal=True).expected).all()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"n_kv": 129, "q_start": 121}, Code.KEYS),
        ({"n_q": 9, "q_start": 31}, Code.QUERIES),
        ({"q_start": 31}, Code.START),
        ({"gamma": 1 << 17}, Code.RULE),
        ({"fewest": 17}, Code.RULE),
        ({"flags": 16, "n_q": 8, "n_kv": 8, "q_start": 0}, Code.KIND),
        ({"verdicts": 1}, Code.ALIGNMENT),
    ],
)
def test_refused(bench, changes, code):
    call = index_call(bench, 2, 1, 40, 16)
    with bench.start() as simulation:
        trial = Trial(bench, simulation, [call])
        arguments = trial.tasks[0].arguments | changes
        with pytest.raises(CallError) as error:
            trial.host.call(arguments, call.cycle_limit)
        assert error.value.code == code
        trial.run()  # the next one is computed


def test_selections_over_keys_are_refused(bench):
    call = index_call(bench, 2, 1, 40, 16)
    with bench.start() as simulation:
        trial = Trial(bench, simulation, [call])
        for name in ("selection", "verdicts"):
            with pytest.raises(CallError) as error:
                changed = {name: trial.tasks[0].arguments["k_0"]}
                trial.host.call(trial.tasks[0].arguments | changed, call.cycle_limit)
            assert error.value.code == Code.OVERLAP
        trial.run()


def test_a_reset_in_the_middle(bench):
    long = index_call(bench, 8, 2, 128, 16, rule=CoverageRule(tau=1, min_budget=0))
    short = index_call(bench, 3, 1, 20, 16)
    with bench.start() as simulation:
        trial = Trial(bench, simulation, [long, short])
        memory = bench.memory(simulation)
        for cycles in (50, 400, 3000, 9000):
            trial.host.start(trial.tasks[0].arguments)
            simulation.run(cycles, until_interrupt=False)
            trial.host.reset()
            assert short.run(trial.tasks[1], trial.host, memory).bit_exact
            assert simulation.violations == ()


def test_responses_of_memory(bench):
    """A selection that cannot be written is told; after a reset it can."""
    call = index_call(bench, 2, 1, 40, 16)
    fault = Fault("slverr", "write", port=bench.kernel.channels["q"][0])
    with bench.start() as simulation:
        trial = Trial(bench, simulation, [call])
        simulation.set_faults([fault])
        with pytest.raises(CallError) as error:
            trial.host.call(trial.tasks[0].arguments, call.cycle_limit)
        assert error.value.code == Code.SLVERR
        simulation.set_faults([])
        trial.host.reset()
        trial.image.write(bench.memory(simulation))
        trial.run()
