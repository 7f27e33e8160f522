"""Stimuli of the row unit and its parts, and of what divides by its sums."""

import itertools

import numpy as np
from amaranth.lib import data

from qkloom.rtl.formats import Integer
from qkloom.rtl.lane.exp2 import Exp2
from qkloom.rtl.lane.mask import Mask
from qkloom.rtl.lane.maximum import RunningMaximum
from qkloom.rtl.lane.numerics import Numerics
from qkloom.rtl.lane.reciprocal import Reciprocal
from qkloom.rtl.lane.row import RowUnit
from qkloom.rtl.lane.scale import Scale
from qkloom.rtl.lane.total import RunningSum
from qkloom.rtl.product import Product
from qkloom.tb.lane.reciprocal import exponent, reciprocal
from qkloom.tb.simulate import to_bits
from tests.rtl.lane import test_normalize, test_row

from .harness import Scripted, Surrounded, TimedNormalizer
from .unit import BEHIND, Unit, counted, frozen, paced, played

__all__ = ["units"]

NARROW = {"head_dim": 12, "out_width": 1}
"""Words of the normalizer have so many parts that it has to wait before it asks for the next."""

PARTS = ("exp2_", "mask_", "running_", "scale_", "delay_", "product_", "choice_")
"""Modules of the row unit that are units of their own, or parts of these; and delay lines, of which
it has many."""


def units():
    """Yield the units, one after the other."""
    for parameters in (
        {"a": Integer(9), "b": Integer(5), "constant": 1 << 4},
        {"a": Integer(6), "b": Integer(4, is_signed=False), "c": Integer(11)},
    ):
        unit = scripted(Product, **parameters)
        kind = "from a third number" if "c" in parameters else "and a constant"
        yield Unit(f"product, {kind}", unit, played(unit, pairs(unit.unit)))
    unit = scripted(Scale, row_width=2, score_width=19, fraction=8)
    yield Unit(
        "scale",
        unit,
        played(unit, scaled()),
        explained={
            f"{unit.unit.module_name}: shifted_1 = $mux, B[2] cnot0 with bit 7": (
                "What saturates is far beyond the limit behind, whatever its low bits are."
            ),
        },
    )
    unit = scripted(Mask, size=4, row_width=2, block_rows=5, tokens=8)
    # Bits of a question: row 2:0, chunk 3, keys 6:4, causal 7, diagonal 12:8.
    claims = {
        "mask_": "past[6:5] == 0 || past[6:5] == 3",
        "delay_width3_": "line[2:0] <= 4 && line[5:3] <= 4",  # of keys
    }
    promises = {"mask_": "i[2:0] < 5 && i[6:4] <= 4"}
    yield Unit("mask", unit, played(unit, masked()), claims=claims, promises=promises)
    unit = scripted(Exp2, segments=8, fraction=8, p_width=14)
    rounded = "All distances that count are sent, and give the same probabilities."
    product = "product_au13_bu5_cu21_constant0: m[17:0] = $dff"
    yield Unit(
        "exp2",
        unit,
        played(unit, exponentials()),
        explained={
            f"{product}, Q[1] cnot1 with bit 8": rounded,
            f"{product}, D[3] cnot0 with bit 1": rounded,
            "exp2_segments8_fraction8_p_width14: $8, B[0] const0": (
                "The distance 15 gives 0 as well: the largest probability, 16,319, is below 2^14."
            ),
        },
    )
    rows = {"row_width": 3, "block_rows": 3, "slots": 2}
    unit = scripted(RunningMaximum, **rows)
    yield Unit("running maximum", unit, played(unit, maxima(unit.unit)))
    unit = scripted(RunningSum, **rows, p_width=8, sum_width=16)
    yield Unit("running sum", unit, played(unit, sums(unit.unit)))
    unit = Surrounded(part=RowUnit, parameters=frozen(**test_row.DEFAULT))
    # Bits of a step: rows 4:3.
    claim = [
        "(rest & rest + 1) == 0",
        "running == !(row == 0 && chunk == 0)",
        "(!running || step__valid && row < step__payload[4:3])",
        counted("row", "step__payload[4:3]", width=2),
    ]
    yield Unit(
        "row unit",
        unit,
        steps(unit),
        without=PARTS,
        claims={"row_unit_": " && ".join(claim)},
        promises={"row_unit_": "step__payload[4:3] != 0"},
        explained={
            **{
                f"row_unit_size4_block_rows3_row_width2_slots2: {place}": why
                for place, why in (
                    ("$70, A[0] cnot0 with bit 1", BEHIND),
                    (
                        "$84, Y[0] cnot1 with bit 8",
                        "From 256 on all is shifted out; of what is negative the sign counts.",
                    ),
                    (
                        "tag_at_10_delay, o[5] cnot0 with bit 8",
                        "Whether a step is the first one is asked with the last chunk of a row.",
                    ),
                    (
                        "$procmux$71, A[3] const0",
                        "A row has two chunks here, so that the first cycle of a pause has a read.",
                    ),
                    (
                        "maximum__i__payload[17] = $reduce_or, A[6] const0",
                        "It takes a row with an integer and a quarter for a maximum: none is sent.",
                    ),
                )
            },
        },
    )
    unit = scripted(Reciprocal, sum_width=24, tag=data.StructLayout({"slot": 1, "row": 3}))
    yield Unit("reciprocal", unit, played(unit, divisors(24)))
    # Bits of a query block: rows 2:1, d_tiles 4:3.
    claim = [
        "(row == 0 && tile == 0 || i__valid && !i__ready)",
        "(row == 0 || row < i__payload[2:1]) && (tile == 0 || tile < i__payload[4:3])",
        counted("row", "i__payload[2:1]", width=2),
        counted("tile", "i__payload[4:3]", width=2),
        "(!i__ready || waiting && i__valid) && (!row_ended || waiting)",
    ]
    promise = "i__payload[2:1] != 0 && i__payload[4:3] != 0"
    unit = TimedNormalizer(parameters=frozen(**test_normalize.DEFAULT | NARROW))
    yield Unit(
        "normalizer",
        unit,
        blocks(unit),
        without=("queue_", "credit_gate_", "delay_"),
        claims={"normalizer_": " && ".join(claim)},
        promises={"normalizer_": promise},
        explained={
            f"normalizer_size4_block_rows3_head_dim12_slots2: {place}": why
            for place, why in {
                "$164, A[0] const1": (
                    "A reciprocal is used when there is one: 0 does not occur, and 2 is not 1 "
                    "anyway."
                ),
                "$153, Y[1] const1": BEHIND,
                "word_is_last = $dffe, EN[0] const1": (
                    "A word is asked for when two parts of the one before are left, and they are "
                    "gone before this would change."
                ),
            }.items()
        },
    )


def scripted(part, **parameters):
    """Return a unit that always accepts, in its surroundings."""
    return Scripted(part=part, parameters=frozen(**parameters))


def pairs(unit):
    """Random and extreme operands, and a third number where there is one."""
    rng = np.random.default_rng(8)
    script = []
    for _ in range(600):
        item = {}
        for name, member in unit.signature.members.items():
            if name.startswith("i_"):
                low, high = member.shape.min_raw, member.shape.max_raw
                item[name] = rng.choice([low, high, *rng.integers(low, high + 1, 3)])
        script.append(item)
    return script


def scaled():
    """Scores and factors, random and extreme, at every shift; ties, and those next to a limit."""
    rng = np.random.default_rng(1)
    some = [-1 << 18, (1 << 18) - 1, -1, 0, 1]
    script = [
        {
            "i.scores": rng.choice([*some, *rng.integers(-1 << 18, 1 << 18, 5)], 2),
            "i.mantissa": mantissa,
            "i.shift": shift,
        }
        for shift in range(64)
        for mantissa in (0, 1, 1 << 16, (1 << 17) - 1, rng.integers(1 << 17))
    ]
    # One bit of the product alone.
    for shift, bit in itertools.product(range(64), range(19)):
        score = (1 << bit) if bit < 18 else -(1 << 18)
        script.append({"i.scores": [score, -(score >> 1)], "i.mantissa": 1 << 16, "i.shift": shift})
    limit, places = ((1 << 15) - 1) << 8, np.arange(4, 18)
    for shift in range(4, 12):
        for sign in (-1, 1):
            near = limit >> 16 - shift
            nearby = np.r_[near + np.arange(-9, 10), near - (1 << places), near + 1 - (1 << places)]
            for score in sign * nearby[nearby > 0]:
                scores = np.clip([score, -score], -1 << 18, (1 << 18) - 1)
                script.append({"i.scores": scores, "i.mantissa": 1 << 16, "i.shift": shift})
    for score in range(-40, 41):
        shift = rng.integers(16, 21)
        script.append({"i.scores": [score, ~score], "i.mantissa": 1 << 16, "i.shift": shift})
    return script


def masked():
    """Every row, chunk and number of keys, under every diagonal."""
    cases = itertools.product(range(5), range(2), range(5), (0, 1), range(-16, 16))
    names = ("row", "chunk", "keys", "causal", "diagonal")
    script = [{f"i.{n}": x for n, x in zip(names, case, strict=True)} for case in cases]
    np.random.default_rng(1).shuffle(script)
    return script


def exponentials():
    """All distances that count, and some that do not; hidden ones."""
    rng = np.random.default_rng(1)
    n_max = Numerics(size=1, head_dim=1, tokens=1, p_width=14).n_max
    ys = np.r_[np.arange((n_max + 3) << 8), 1 << np.arange(25), (1 << 25) - 1]
    hidden = rng.integers(0, (n_max + 2) << 8, 400)
    script = [{"i.y": y, "i.visible": 1} for y in ys] + [{"i.y": y, "i.visible": 0} for y in hidden]
    rng.shuffle(script)
    return script


def in_rows(unit, *, seed, n_chunks, draw):
    """Return rows of all slots, each as soon as its state allows, or a little later."""
    rng = np.random.default_rng(seed)
    script, known, last_end = [], set(), {}
    for _ in range(250):
        place = int(rng.integers(2)), int(rng.integers(3))
        earliest = last_end.get(place, -99) + unit.feedback - n_chunks + 1
        while len(script) < earliest or rng.random() < 0.1:
            script.append({})
        first = place not in known or rng.random() < 0.2
        known.add(place)
        of_row, per_chunk = draw(rng, n_chunks)
        of_row |= {"first": int(first), "last": int(rng.random() < 0.6)}
        for n in range(n_chunks):
            item = {"slot": place[0], "row": place[1], "begin": n == 0, "end": n == n_chunks - 1}
            item |= {name: value for name, value in of_row.items() if name in ("first", "last")}
            fields = {f"i__payload.place.{name}": int(value) for name, value in item.items()}
            fields |= {f"i__payload.{name}": value[n] for name, value in per_chunk.items()}
            fields |= {f"i__payload.{n}": x for n, x in of_row.items() if n.startswith("rescale")}
            script.append({"i__valid": 1, **fields})
        last_end[place] = len(script) - 1
    return script


def maxima(unit):
    """Rows whose elements are of all sizes, about equal, and hidden."""
    near = [0]

    def draw(rng, n_chunks):
        scale = 1 << rng.integers(1, 17)
        x = rng.integers(-scale, scale, (n_chunks, 3))
        x[rng.random(x.shape) < 0.3] = -1 << 16
        if rng.random() < 0.5:  # next to what some row had before
            x[:] = rng.choice(near[-9:]) + rng.integers(-3, 4, x.shape)
        x = np.clip(x, -1 << 16, (1 << 16) - 2)
        near.append(x.max())
        return {}, {"x": x}

    return [
        item
        for n_chunks in (1, 3, 1, 2)
        for item in in_rows(unit, seed=n_chunks, n_chunks=n_chunks, draw=draw)
    ]


def sums(unit):
    """Rows of small and of the largest probabilities, with every kind of rescale."""

    def draw(rng, n_chunks):
        p = rng.choice([0, 255, *rng.integers(0, 256, 4)], (n_chunks, 3))
        amount = int(rng.choice([0, 0, 1, 2, 3, 7, 8, 9, 17, 63, *rng.integers(0, 64, 2)]))
        of_new = int(rng.integers(2))
        return {"rescale.amount": amount, "rescale.of_new": of_new}, {"p": p}

    return [
        item
        for n_chunks in (1, 3)
        for item in in_rows(unit, seed=n_chunks, n_chunks=n_chunks, draw=draw)
    ]


class FarApart(test_row.Script):
    """Elements below the top of their tile by a power of two each."""

    def _below(self, n_rows, top):
        job = super()._below(n_rows, top)
        scores = np.array(job["scores"])
        scores[:, 1:] = scores[:, :1] - (1 << self._rng.integers(0, 17, scores[:, 1:].shape))
        return job | {"scores": np.maximum(scores, -(1 << 15) + 1)}


def steps(unit):
    """Steps of all slots, with scores of all sizes; maxima that rise and fall by powers of two."""
    shapes = unit.step.payload.shape(), unit.answer_r.payload.shape()
    scripts = [
        test_row.Script(n_steps=40),
        test_row.Script(seed=1, extreme=True, n_steps=40),
        test_row.Script(seed=2, one_slot=True, rows=1),
        test_row.Script(tops=[0, 9, None, 3, 20, -30, 90, 91, 90, 27]),
        FarApart(tops=list(np.cumsum([-32000, *(1 << np.arange(15))]))),
        FarApart(tops=[700, *(700 - (1 << np.arange(15)))]),
        test_row.Script(tops=list(np.random.default_rng(4).integers(-130, 131, 60).cumsum())),
    ]
    benches = []
    for script in scripts:
        width = script.parameters["row_width"]
        answers = [
            {"data": row[chunk : chunk + width]}
            for scores in script.scores
            for row in scores
            for chunk in range(0, len(row), width)
        ]
        sent = {
            "step": [to_bits(shapes[0], step) for step in script.steps],
            "answer_r": [to_bits(shapes[1], answer) for answer in answers],
        }
        benches += paced(sent, {}, max_cycles=8000, steady=["answer_r"])[::2]
    return benches


def divisors(width):
    """Sums: small, around powers of two, random of every size, and almost without a remainder."""
    rng = np.random.default_rng(1)
    powers = 1 << np.arange(width)
    found = [0, *range(64), *powers, *(powers - 1), *(powers[1:] + 1), (1 << width) - 1]
    found += list(rng.integers(0, 1 << width, 200) >> rng.integers(0, width, 200))
    found += list(rng.integers(0, 1 << width, 4000))
    found += [((1 << n) - 1) // d for n in range(2, 36) for d in (3, 5, 7) if n < width]
    aligned = np.arange(1 << 18, 1 << 19)
    rest = ((1 << 35) - 1) % aligned
    found += list(aligned[(rest < 200) | (aligned - rest < 200)] << width - 19)
    rng.shuffle(found)
    return [
        {"i__payload.l": total, "i__valid": 1} if rng.random() < 0.9 else {"i__payload.l": total}
        for total in found
    ]


def blocks(unit):
    """Query blocks in turn over the slots; sums of 0, and outputs beyond the largest."""
    names = ("i", "recip", "data")
    shapes = {name: getattr(unit, name).payload.shape() for name in names}
    benches = []
    for seed in range(3):
        work = test_normalize.Blocks(n=30, seed=seed, **NARROW)
        size, acc_width = work.parameters["size"], work.parameters["acc_width"]
        rng = np.random.default_rng(seed)
        factors, answers = [], []
        for block, accs, totals in zip(work.blocks, work.accs, work.totals, strict=True):
            for row, total in enumerate(totals):
                factor = {"zero": 1, "e": 63, "r": int(rng.integers(1 << 17))}
                if total:
                    factor = {"zero": 0, "e": int(exponent(total)), "r": int(reciprocal(total))}
                factors.append(factor | {"tag": {"slot": block["slot"], "row": row}})
                for tile in range(block["d_tiles"]):
                    found = accs[row, tile * size : (tile + 1) * size]
                    if seed == 2:  # one bit alone
                        found = rng.choice([-1, 1], size) << rng.integers(0, acc_width - 1, size)
                    answers.append(found.tolist())
        sent = {
            name: [to_bits(shapes[name], item) for item in items]
            for name, items in zip(names, (work.blocks, factors, answers), strict=True)
        }
        counts = {"o": len(work.beats)}
        benches += paced(sent, counts, max_cycles=20_000)
    return benches
