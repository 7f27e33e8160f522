"""What a structure is made of, counted without synthesis, is what synthesis counts."""

import re
from collections import Counter
from dataclasses import replace

from amaranth.hdl import Module

from qkloom.gen.emit import emit
from qkloom.gen.estimate.model import walk
from qkloom.gen.estimate.structure import structure_counts, structure_of
from qkloom.gen.synthesis.run import run_synthesis
from qkloom.gen.synthesis.target import find_target
from qkloom.platforms.ultrascale.target import _STRUCTURES
from qkloom.rtl.adder import TernaryAdder
from qkloom.rtl.component import Component
from qkloom.rtl.delay import Delay
from qkloom.rtl.formats import I4, I8, U8, Integer
from qkloom.rtl.matrix.booth import Accumulator, BoothProduct
from qkloom.rtl.matrix.dsp import DspMatrixUnit, PackedChain
from qkloom.rtl.matrix.table import SubsetTable
from qkloom.rtl.product import Product
from qkloom.tb.engines.cache import Cache
from qkloom.tb.yosys import find_full_yosys

TARGET = find_target("xcup")


class Shelf(Component):
    """One of each, connected to nothing."""

    def __init__(self):
        self.blocks = [
            Accumulator(i_width=17, width=26),
            Accumulator(i_width=9, width=9),
            *(
                BoothProduct(a=a, b=b)
                for a, b in ((I8, I8), (U8, I8), (U8, U8), (I4, I8), (Integer(16), U8), (I4, I4))
            ),
            PackedChain(rows=4, packing=packing()),
            Product(a=I8, b=U8, c=Integer(20)),
            Product(a=Integer(27), b=Integer(17, is_signed=False), constant=7),
            SubsetTable(width=10, planes=1),
            SubsetTable(width=11, planes=8),
            TernaryAdder(width=17),
            TernaryAdder(width=8, subtracts=True),
            TernaryAdder(width=9, n=2, constant=3),
        ]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        for number, block in enumerate(self.blocks):
            m.submodules[f"block_{number}"] = block
        return m


def packing():
    """Return how a matrix unit packs its products."""
    parts = (part for part, _ in walk(DspMatrixUnit(rows=4, cols=4)))
    return next(part.parameters["packing"] for part in parts if isinstance(part, PackedChain))


def test_what_has_no_structure():
    assert structure_of(Delay(width=8, cycles=3)) is None


def test_synthesis_counts_the_same(require, tmp_path):
    require("yosys")
    shelf = Shelf()
    assert {type(block) for block in shelf.blocks} == set(_STRUCTURES)
    design = emit(shelf, target=TARGET.platform)
    yosys, cache = find_full_yosys(), Cache(tmp_path / "cache")
    netlist = run_synthesis(design, TARGET, yosys, cache, lambda step, share: None)
    modules = {name: kind for kind, name in re.findall(r"cell \\(\S+) \\(block_\d+)", design.rtlil)}
    for number, block in enumerate(shelf.blocks):
        module = modules[f"block_{number}"]
        found = TARGET.count(replace(netlist, top=module).cells[module])
        counted = structure_counts(structure_of(block))
        assert counted == Counter({name: n for name, n in found.items() if n}), module
