"""Stimuli of what else a lane is made of, and of the lane."""

import random

import numpy as np
from amaranth.hdl import Signal
from amaranth.lib import data

from qkloom.rtl.lane.deposit import Deposit
from qkloom.rtl.lane.lane import Lane
from qkloom.rtl.lane.loader import TileLoader
from qkloom.rtl.lane.output import OutputAccumulator
from qkloom.rtl.lane.schedule import PassScheduler, StepExpander
from qkloom.rtl.lane.score import ScoreAccumulator
from qkloom.rtl.lane.spacer import Spacer
from qkloom.rtl.lane.start import StepStart
from qkloom.tb.packing import pack, unpack
from qkloom.tb.simulate import to_bits
from tests.rtl.lane import (
    test_deposit,
    test_feeder,
    test_lane,
    test_loader,
    test_output,
    test_schedule,
    test_score,
    test_start,
)

from .flat import Flat
from .harness import FedFeeder, Scripted
from .unit import BEHIND, UNSENT, Unit, frozen, noise, paced, played

__all__ = ["units"]

PARTS = (
    *("choice_", "delay_", "exp2_", "mask_", "matrix_", "queue_", "running_", "scale_", "skew_"),
    *(
        "stationary_",
        "tile_",
        "transposer_",
        "credit_",
        "register_",
        "feeder_",
        "normalizer_",
        "output_",
        "pass_",
        "product_",
        "spacer_",
        "step_",
    ),
    *("probability_", "query_", "reciprocal_", "row_", "score_"),
)
"""Modules of a lane that are units of their own."""

FED = {"size": 4, "block_rows": 3, "head_dim": 12, "slots": 2, "digits": 2}
"""Shape of the feeder."""


def units():
    """Yield the units, one after the other."""
    shape = test_schedule.SHAPE | {"tokens": test_schedule.TOKENS}
    unit = StepExpander(**shape)
    # Bits of a job: keys 52:47.
    claim = [
        "tile_first == (first_key == 0)",
        "(first_key == 0 || i__valid && first_key < i__payload[52:47])",
        "(first_key == 0 || keys_after == i__payload[52:47] - first_key)",
        f"(first_key == 0 || after_is_last == (keys_after <= {shape['size']}))",
    ]
    claims = {"step_expander_": " && ".join(claim)}
    promises = {"step_expander_": "i__payload[52:47] != 0 && i__payload[52:47] <= 32"}
    yield Unit("step expander", unit, jobs(unit), claims=claims, promises=promises)
    row = data.StructLayout({"new_tile": 1, "item": 7})
    unit = Spacer(shape=row, distance=6)
    yield Unit("spacer", unit, rows_of_passes(unit))
    unit = PassScheduler(**shape)
    # Bits of a step: d_tiles 11:9. States: choose 0, keys 1, values 2, hand over 3.
    claims = [
        "(fsm_state == 0 || fsm_state == 2 || i__valid) && (fsm_state != 2 || older_valid)",
        "(!older_valid || older[11:9] != 0 && older[11:9] <= 4)",
        "issues == (fsm_state == 1 || fsm_state == 2)",
        "(!newer_valid || newer[11:9] != 0 && newer[11:9] <= 4 && fsm_state == 2)",
    ]
    yield Unit(
        "pass scheduler",
        unit,
        scheduled(unit),
        is_timed=False,
        claims={"pass_scheduler_": " && ".join(claims)},
        promises={"pass_scheduler_": "i__payload[11:9] != 0 && i__payload[11:9] <= 4"},
        explained={
            f"{unit.module_name}: $auto$simple.cc:211:make_patterns_logic$198, A[1] const1": (
                "While the values of the older step are multiplied nobody asks whether it is "
                "valid, and at their end the newer one takes its place."
            ),
            f"{unit.module_name}: $auto$simple.cc:211:make_patterns_logic$169, A[1] const1": (
                "What the newer step is matters only while it is valid."
            ),
        },
    )
    # So small that the queues of the buffers hold two tiles each.
    unit = TileLoader(**test_loader.SHAPE | {"size": 2}, is_signed=True)
    yield Unit(
        "tile loader",
        unit,
        loads(unit),
        without=("tile_buffer_", "queue_", "transposer_", "choice_"),
        explained={
            f"{unit.module_name}: tile__valid = $and, A[0] const1": (
                "A tile leaves its buffer later than its place in the order is noted: when no "
                "order is known, no buffer offers anything."
            ),
        },
    )
    unit = FedFeeder(parameters=frozen(**FED))
    yield Unit(
        "feeder",
        unit,
        fed(unit),
        without=("queue_",),
        explained={
            f"{unit.unit.module_name}: $105, Y[0] const1": BEHIND,
        },
    )
    parameters = test_score.SHAPE | test_score.WIDTHS
    unit = Scripted(part=ScoreAccumulator, parameters=frozen(**parameters))
    name = unit.unit.module_name
    yield Unit(
        "score accumulator",
        unit,
        scores(unit),
        explained={
            f"{name}: valid_1 = $sdff, SRST[0] const0": UNSENT,
            **{
                f"{name}: {place}": (
                    "Reading more than is asked changes nothing: what nobody asked for nobody sees."
                )
                for place in (
                    "bank_0__r_en = $or, Y[0] const1",
                    "bank_0__r_en = $or, B[0] const1",
                    "bank_1__r_en = $or, A[0] const1",
                )
            },
        },
    )
    script = test_output.Script(seed=0, **test_output.VARIANTS["two signed digits"])
    unit = Scripted(part=OutputAccumulator, parameters=frozen(**script.parameters))
    yield Unit(
        "output accumulator",
        unit,
        outputs(unit),
        explained={f"{unit.unit.module_name}: valid_1 = $sdff, SRST[0] const0": UNSENT},
    )
    unit = Started(
        part=StepStart,
        parameters=frozen(shape=test_start.STEP, row_shape=test_start.ROW, gemm=True),
    )
    name = unit.unit.module_name
    yield Unit(
        "step start",
        unit,
        started(unit),
        without=("queue_", "register_slice_"),
        explained={
            f"{name}: may_start = $and, A[0] const1": (
                "A step whose scores are complete is in the queue."
            ),
            f"{name}: sum, o__payload[4] cnot0 with bit 8": (
                "What goes there is of a product, and says so in that bit."
            ),
        },
    )
    parameters = test_deposit.SHAPE | {"digits": 2, "row_width": 2, "exponent_width": 5}
    unit = Deposited(part=Deposit, parameters=frozen(**parameters))
    name = unit.unit.module_name
    yield Unit(
        "deposit",
        unit,
        deposits(unit),
        explained={
            f"{name}: {place}, S[0] const0": "Behind a reset no place is valid, whatever it says."
            for place in ("$procmux$29", "$procmux$35")
        },
    )
    unit = Lane(**test_lane.SMALL)
    name = unit.module_name
    yield Unit(
        "lane, without its parts",
        unit,
        attention(unit),
        is_timed=False,
        without=PARTS,
        explained={
            f"{name}: starts = $and, B[0] const1": (
                "Scores have two banks, so that no more than two steps wait with complete scores: "
                "the slice in front of the row unit always has room."
            ),
            f"{name}: $43, Y[0] const1": (
                "A step goes to the row unit in the cycle after its scores are complete, and those "
                "of the next one take longer than that."
            ),
            f"{name}: $auto$simple.cc:194:make_patterns_logic$1707, A[0] cnot1 with bit 1": (
                "Whether the one or the other is set does not change when both are."
            ),
        },
    )


class Started(Flat):
    """A start of steps, of which one is complete when the stimulus says so and there is one."""

    def level(self, m, name, wanted):
        i = self.unit.i
        scored = Signal(range(16))  # steps that came and are not complete
        completes = Signal()
        m.d.comb += completes.eq(wanted & (scored != 0))
        m.d.sync += scored.eq(scored + (i.valid & i.ready) - completes)
        return completes


class Deposited(Flat):
    """A deposit; when the outputs of a slot are complete they are read, some time later."""

    def members_of(self, name, member):
        return {} if name == "done" else super().members_of(name, member)

    def more_levels(self):
        return {"reads": 1}

    def wire(self, m, name, inner, flow, levels):
        if name != "done":
            super().wire(m, name, inner, flow, levels)
            return
        place = self.unit.place
        full = Signal(2)
        m.d.comb += [
            inner.valid.eq(levels["reads"] & full.any()),
            inner.payload.slot.eq(~full[0]),
        ]
        with m.If(inner.valid):
            m.d.sync += full.bit_select(inner.payload.slot, 1).eq(0)
        with m.If(place.valid & place.payload.complete):
            m.d.sync += full.bit_select(place.payload.slot, 1).eq(1)


def words(shape, items):
    """Pack payloads one by one."""
    return np.array([to_bits(shape, item) for item in items], object)


def rows_of_passes(unit):
    """Passes of one row and of many, with and without pauses between."""
    rng = np.random.default_rng(7)
    lengths = rng.choice([1, 1, 2, 3, 5, 6, 7, 12], 40)
    firsts = np.concatenate([np.arange(n) == 0 for n in lengths]).astype(int)
    items = rng.integers(0, 128, len(firsts))
    sent = pack(unit.i.payload.shape(), new_tile=firsts, item=items)
    return paced({"i": sent}, {"o": len(sent)}, max_cycles=9000)


def jobs(unit):
    """Jobs of every size, and of every number of keys."""
    rng = random.Random(1)
    sent = [test_schedule.random_job(rng) | {"keys": 1 + n % 32} for n in range(64)]
    n = len(test_schedule.steps_of(sent))
    return paced({"i": words(unit.i.payload.shape(), sent)}, {"o": n}, max_cycles=4000)


def started(unit):
    """Steps of either kind, a few of one behind a few of the other."""
    rng = np.random.default_rng(5)
    n = 120
    kinds = np.repeat(np.arange(n) % 2, rng.integers(1, 6, n))[:n]
    sent = pack(unit.i.payload.shape(), number=rng.integers(0, 256, n), gemm=kinds)

    def levels(rng):
        complete = rng.random(1000) < rng.choice([0.05, 0.3, 0.9])
        complete[-1] = True
        return pack(unit.levels.payload.shape(), complete=complete.astype(int))

    counts = {"o": int((kinds == 0).sum()), "sums": int(kinds.sum())}
    return paced({"i": sent}, counts, max_cycles=9000, varied={"levels": levels})


def deposits(unit):
    """Steps of all sizes, sums of one and of many chunks."""
    rng = np.random.default_rng(6)
    shape = unit.step.payload.shape()
    n = 120
    fields = unpack(shape, noise(shape, n, rng))
    fields["rows"] = rng.integers(1, test_deposit.SHAPE["block_rows"] + 1, n)
    for name in ("sum_first", "sum_last", "last"):
        fields[name] = (rng.random(n) < 0.6).astype(int)

    def levels(rng):
        reads = rng.random(1500) < rng.choice([0.02, 0.3, 1.0])
        reads[-1] = True
        return pack(unit.levels.payload.shape(), reads=reads.astype(int))

    sent = {"step": pack(shape, **fields)}
    return paced(sent, {}, max_cycles=9000, varied={"levels": levels})


def scheduled(unit):
    """Steps in a row, and steps far apart."""
    rng = random.Random(2)
    steps = test_schedule.steps_of([test_schedule.random_job(rng) for _ in range(15)])
    sent = {"i": words(unit.i.payload.shape(), steps)}
    counts = {"passes": sum(2 * step["d_tiles"] for step in steps), "steps": len(steps)}
    return paced(sent, counts, max_cycles=9000)


def loads(unit):
    """Passes over key and value tiles of random strips."""
    shape = test_loader.SHAPE | {"size": 2}
    script = test_loader.Script(n_steps=12, seed=1, is_signed=True, **shape)
    return paced(script.inputs(unit), {"tile": len(script.beats)}, max_cycles=9000)


def fed(unit):
    """Passes in a lane's order, and what both memories hold."""
    benches = []
    for seed, rows in ((1, None), (2, None), (3, 1)):
        script = test_feeder.Script(n_steps=16, seed=seed, rows=rows, **FED)
        queries, probabilities = [], []
        for work in script.passes:
            for n in range(script.n_rows(work)):
                row = n // script.digits if work["value"] else n
                if work["value"]:
                    digits, rescale = script.probability(work["bank"], row)
                    probabilities.append({"digits": digits, "rescale": rescale})
                else:
                    address = work["tile"] | row << script.tile_bits
                    queries.append({"data": script.query(work["slot"], address)})
        tokens = {
            name: [payload for _, kind, payload in script.tokens if kind == name]
            for name in ("loaded", "done")
        }
        items = {
            "i": script.passes,
            "answer_queries": queries,
            "answer_probabilities": probabilities,
            **tokens,
        }
        sent = {name: words(getattr(unit, name).payload.shape(), x) for name, x in items.items()}
        steady = ["answer_queries", "answer_probabilities"]
        counts = {"o": sum(len(rows) for rows in script.rows)}
        benches += paced(sent, counts, max_cycles=9000, steady=steady)
        for late in ("loaded", "done"):  # everything waits for that one
            others = [name for name in (*sent, *counts) if name != late]
            benches += paced(sent, counts, max_cycles=9000, steady=others)[1:4]
    return benches


def scores(unit):
    """Steps in turn over the banks, each read as soon as it is complete."""
    benches = []
    for seed, rows, d_tiles in ((1, None, None), (2, 3, 4), (3, 1, 4)):
        script = test_score.Script(seed=seed, n_steps=12, rows=rows, d_tiles=d_tiles)
        places = [
            [
                {"r__en": 1, "r__bank": bank, "r__address": address}
                for address in range(test_score.CHUNKS * len(found))
            ]
            for bank, found in zip(script.banks, script.scores, strict=True)
        ]
        benches += played(unit, with_reads(script.items, places, latency=2, value=0))
    return benches


def outputs(unit):
    """Query blocks in turn over the slots, each read as soon as it is complete."""
    benches = []
    variant = test_output.VARIANTS["two signed digits"]
    for seed in range(3):
        script = test_output.Script(seed=seed, n_blocks=8, **variant)
        places = [
            [
                {
                    "read__valid": 1,
                    "read__payload.slot": block["slot"],
                    "read__payload.row": row,
                    "read__payload.tile": tile,
                }
                for row in range(block["rows"])
                for tile in range(block["d_tiles"])
            ]
            for block in script.blocks
        ]
        benches += played(
            unit, with_reads(script.items, places, latency=unit.unit.latency, value=1)
        )
    return benches


def with_reads(items, places, *, latency, value):
    """Return the script that sends rows with their tags, and reads what is complete."""
    rng = np.random.default_rng(len(items))
    script, reads, waiting = [], {}, iter(places)
    free = 0
    for row, tag in items:
        while rng.random() < 0.05:
            script.append({})
        fields = {"i__valid": 1, "i__payload.row": row, "i__payload.tag.value": tag["value"]}
        # Rows of the other product may have any tag.
        for name, field in tag.items() if tag["value"] == value else ():
            inner = field if isinstance(field, dict) else {"": field}
            for part, number in inner.items():
                fields[f"i__payload.tag.{name}.{part}".rstrip(".")] = int(number)
        if tag["value"] == value and tag["complete"]:
            free = max(free, len(script) + latency + 1)
            for read in next(waiting):
                reads[free] = read
                free += 1
        script.append(fields)
    script += [{}] * max(0, free + 1 - len(script))
    return [item | reads.get(cycle, {}) for cycle, item in enumerate(script)]


def attention(unit):
    """Calls of every kind, one after the other: full and causal, short and long, several heads."""
    script = test_lane.Script(seed=3)
    script.add(3, 1)
    script.add(11, 13, heads=2)
    script.add(8, 21, causal=True, q_start=9)
    script.add(15, 2)
    script.add(5, 5)
    script.add(9, 9, causal=True, q_start=-3, head_dim=4)
    script.add(1, 17, heads=3)
    script.add(9, 20, causal=True, q_start=6)
    script.add(17, 12, causal=True, q_start=3)
    script.add(2, 64)
    for job in script.sent["i_job"][-8:]:
        job["shift"] = 63  # all keys weigh the same: the largest sum
    # Nobody asks here for sensible weights.
    rng = np.random.default_rng(3)
    for job in script.sent["i_job"][:-8:2]:
        job["mantissa"] = int(rng.integers(1 << 17) >> rng.integers(17))
        job["shift"] = int(rng.integers(32))
    sent = {
        name: words(getattr(unit, name).payload.shape(), items)
        for name, items in script.sent.items()
    }
    return paced(sent, {"o": len(script.beats)}, max_cycles=60000)
