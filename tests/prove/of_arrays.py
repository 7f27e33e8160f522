"""Whole arrays in simulation: every product, extreme sums, and the gates that synthesis makes."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from qkloom.gen.emit import emit
from qkloom.gen.synthesis.target import Target
from qkloom.platforms.ultrascale import UltraScale
from qkloom.tb.testbench import Expectation, Stimulus, Testbench, pack
from qkloom.tb.yosys import FULL_VERSION
from tests.platforms.ultrascale.test_booth import SIGNS, Products

from . import stimuli
from .arrays import FOLDING, PRODUCTS, Array
from .gates import NO_DSP, XCUP, gates_of
from .proof import Proof, Step, simulated

__all__ = ["proofs"]

GATES = f"Verilator on the netlist of Yosys {FULL_VERSION}"


def proofs() -> Iterator[Proof]:
    """Yield the proofs, one after the other."""
    for array in PRODUCTS:
        yield Proof(
            f"every pair, {array.name}",
            "every product of two operands, of either sign, in every place of 4 rows",
            "CXXRTL on the twin, Verilator on the structure",
            partial(_every_pair, array),
        )
    yield Proof(
        "every pair, BoothProduct",
        "65,536 pairs of 8 bits, of four sign pairs",
        "CXXRTL on the twin, Verilator on the structure",
        _every_booth_product,
    )
    for array in PRODUCTS:
        signed_only = dict(array.parameters).get("mixed_signs") is False
        yield Proof(
            f"sums, {array.name}",
            "extreme and alternating operands in 16x16 and 128x1"
            + ("" if signed_only else "; digits of probabilities of every p_width"),
            "CXXRTL on the twin",
            partial(_sums, array, with_digits=not signed_only),
        )
    for array in FOLDING:
        yield Proof(
            f"sums, {array.name}",
            "folds of 65,536 extreme and alternating products in 8x7",
            "CXXRTL on the twin",
            partial(_longest_folds, array),
        )
    for array in [*PRODUCTS, *FOLDING]:
        is_plain = "plain" in array.name
        size = 3 if is_plain else 8
        yield Proof(
            f"netlist, {array.name}",
            f"a {size}x{size} array with stalls, resets, extreme operands"
            + ("" if array in FOLDING else " and probability digits"),
            GATES,
            partial(_netlist, array, size, NO_DSP if is_plain else XCUP),
        )


def _every_pair(array: Array) -> Iterator[Step]:
    unit = array.build(rows=4, cols=3)
    bench = stimuli.every_pair(unit)
    yield simulated(emit(unit), bench, "cxxrtl")
    yield simulated(emit(unit, verilog=True, target=UltraScale()), bench, "verilator")


def _every_booth_product() -> Iterator[Step]:
    words = np.arange(1 << 16)
    a, b = words & 255, words >> 8
    products = [
        np.where(a > x.max_raw, a - 256, a) * np.where(b > y.max_raw, b - 256, b) for x, y in SIGNS
    ]
    unit = Products()
    expected = pack(unit.o.payload.shape(), np.stack(products, axis=-1))
    bench = Testbench({"i": Stimulus(words)}, {"o": Expectation(expected)}, max_cycles=66_000)
    yield simulated(emit(unit), bench, "cxxrtl")
    yield simulated(emit(unit, verilog=True, target=UltraScale()), bench, "verilator")


def _sums(array: Array, *, with_digits: bool) -> Iterator[Step]:
    for rows, cols in [(16, 16), (128, 1)]:
        unit = array.build(rows, cols)
        design = emit(unit)
        yield simulated(design, stimuli.extremes(unit), "cxxrtl")
        if with_digits:
            yield simulated(design, stimuli.digits(unit), "cxxrtl")


def _longest_folds(array: Array) -> Iterator[Step]:
    unit = array.build(8, 7, depth=65_536)
    yield simulated(emit(unit), stimuli.longest_folds(unit), "cxxrtl")


def _netlist(array: Array, size: int, target: Target) -> Iterator[Step]:
    more = {"depth": 300} if array in FOLDING else {}
    unit = array.build(size, size, **more)
    if array in FOLDING:
        benches = [*stimuli.folds(unit), stimuli.longest_folds(unit)]
    else:
        benches = [*stimuli.mixture(unit), stimuli.extremes(unit)]
        if dict(array.parameters).get("mixed_signs", True):
            benches.append(stimuli.digits(unit))
    # Synthesis is left to the run: a fingerprint has to be quick.
    design = emit(unit, target=target.platform)
    for bench in benches:
        yield simulated(
            design, bench, "verilator", made=partial(gates_of, unit, target), by=target.digest
        )
