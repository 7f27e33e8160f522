from collections import Counter

import pytest

from qkloom.gen.estimate.content import find_content
from qkloom.gen.estimate.model import Fit, build_tree, read_fit, total_counts, walk
from qkloom.rtl.adder import TernaryAdder
from qkloom.rtl.core import Core
from qkloom.rtl.delay import Delay
from qkloom.rtl.formats import I8
from qkloom.rtl.matrix.dsp import DspMatrixUnit
from qkloom.rtl.matrix.lut import LutMatrixUnit
from qkloom.rtl.product import Product

NOTHING = Fit(factors={"": {}}, n_points=0, points="", date="", yosys="", errors={})
LANE = dict(
    size=4,
    block_rows=8,
    head_dim=8,
    tokens=64,
    p_width=14,
    segments=8,
    fraction=10,
    row_width=1,
    out_width=1,
)


def counts(component, fit=NOTHING):
    return {name: n for name, n in total_counts(build_tree(component, fit)).items() if n}


class TestRules:
    def test_delays_are_registers_or_luts(self):
        assert counts(Delay(width=8, cycles=2)) == {"ff": 16}
        assert counts(Delay(width=8, cycles=3)) == {"lut": 8, "lutram": 8}
        assert counts(Delay(width=8, cycles=33)) == {"lut": 16, "lutram": 16, "ff": 8}

    def test_primitives_are_counted(self):
        assert counts(TernaryAdder(width=17)) == {"lut": 17, "carry8": 3}
        assert counts(Product(a=I8, b=I8)) == {"dsp": 1}

    @pytest.mark.parametrize(("rows", "cols"), [(1, 1), (8, 8), (9, 7)])
    def test_slices_of_the_dsp_unit(self, rows, cols):
        unit = DspMatrixUnit(rows=rows, cols=cols)
        assert counts(unit)["dsp"] == unit.n_dsp

    def test_tables_of_the_lut_unit(self):
        # 40 reads of two bits are six RAM32M16, of eight LUTs each.
        assert counts(LutMatrixUnit(rows=8, cols=3))["lutram"] == 2 * 3 * 48


def test_factors_count_for_their_class_only():
    factors = {"": {"ff": {"one": 5}}, "Delay": {"ff": {"register": -0.5}, "lut": {"one": 2.6}}}
    fit = Fit(factors=factors, n_points=0, points="", date="", yosys="", errors={})
    assert counts(Delay(width=8, cycles=2), fit) == {"ff": 8, "lut": 3}
    assert counts(TernaryAdder(width=4), fit) == {"lut": 4, "carry8": 1}
    assert Counter(fit.counts("Queue", {"one": 1}))["ff"] == 5


def test_core_without_a_look_at_every_lane():
    lanes = ("dsp", "plain", "dsp", "plain", "plain")
    core = Core(lanes=lanes, **LANE)
    parts = dict(build_tree(core, NOTHING).parts)
    assert set(parts) == {name for name, _ in find_content(core).parts}
    kinds = [dict(parts[f"lane_{k}"].parts)["matrix"].kind for k in range(5)]
    assert kinds == [{"dsp": "DspMatrixUnit", "plain": "MatrixUnit"}[lane] for lane in lanes]
    assert "n5" in parts["merge"].name


def test_walk_finds_each_distinct_component_once():
    kinds = [type(part).__name__ for part, _ in walk(DspMatrixUnit(rows=4, cols=4))]
    assert kinds[0] == "DspMatrixUnit"
    assert kinds.count("DspColumn") == kinds.count("PackedChain") == 1
    top = list(walk(DspMatrixUnit(rows=4, cols=4), top_only=True))
    assert len(top) == 1


def test_the_fit_that_comes_along():
    fit = read_fit()
    assert {"lut", "lutram", "ff", "carry8"} == set(fit.factors[""])
    assert fit.n_points >= 120
