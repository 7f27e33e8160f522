"""What the tests of both arrays share."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Signal

from qkloom.tb.packing import pack, to_words, unpack
from qkloom.tb.simulate import simulate
from qkloom.tb.testbench import FREE, Expectation, Stall, Stimulus, Testbench


class Taken(Elaboratable):
    """A unit whose output is always ready, with the ready signal that the simulation wants."""

    def __init__(self, unit):
        self._unit, self.tile, self.i = unit, unit.tile, unit.i
        ready = Signal(name="o_ready")
        self.o = SimpleNamespace(payload=unit.o.payload, valid=unit.o.valid, ready=ready)

    def elaborate(self, platform):
        return self._unit


@pytest.fixture
def run():
    """Simulate a unit on payloads by field; return those at ``o``, and the log of each stream."""

    def run(unit, inputs, *, cycles, pace=None, seed=0):
        dut = Taken(unit) if unit.signature.members["o"].signature.always_ready else unit
        items = {}
        for name, fields in inputs.items():
            words = pack(getattr(unit, name).payload.shape(), **fields)
            items[name] = [int.from_bytes(row.tobytes(), "little") for row in words]
        logs = simulate(dut, inputs=items, outputs=["o"], cycles=cycles, pace=pace, seed=seed)
        layout = unit.o.payload.shape()
        return unpack(layout, to_words(np.array(logs["o"].items, object), layout.size)), logs

    return run


@pytest.fixture
def testbench():
    """Make a testbench that stalls all streams but always ready ones, from payloads by field."""

    def testbench(unit, inputs, expected, *, stall=0.0, **options):
        def words(name, fields):
            return pack(getattr(unit, name).payload.shape(), **fields)

        always_ready = unit.signature.members["o"].signature.always_ready
        output = FREE if always_ready else Stall(stall, seed=1)
        return Testbench(
            {name: Stimulus(words(name, f), Stall(stall)) for name, f in inputs.items()},
            {"o": Expectation(words("o", expected), output)},
            **{"max_cycles": 20_000, **options},
        )

    return testbench
