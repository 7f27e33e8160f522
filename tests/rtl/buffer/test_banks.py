"""Banks answer two readers and one writer at once."""

import random
import re

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from qkloom.gen.emit import emit
from qkloom.rtl.buffer.banks import Banks, read_port, write_port
from qkloom.rtl.formats import I8


class Model:
    """What each cycle's accesses make of the banks, and of the two read ports."""

    def __init__(self, *, banks, depth, seed):
        self.rng = random.Random(seed)
        self.banks, self.depth = banks, depth
        self.words = {}

    def access(self):
        """Return random ports of one cycle: (enable, bank, address, data)."""

        def port(bank):
            return self.rng.random() < 0.7, bank, self.rng.randrange(self.depth)

        w = (*port(self.rng.randrange(self.banks)), self.rng.randrange(-128, 128))
        update = port(self.rng.randrange(self.banks))
        drain = port(self.rng.randrange(self.banks))
        if update[0] and drain[0] and update[1] == drain[1]:
            drain = (False, *drain[1:])
        return w, update, drain

    def apply(self, w, update, drain):
        """Return what both readers get; None where nothing was asked, or nothing was written."""
        read = [self.words.get(port[1:]) if port[0] else None for port in (update, drain)]
        if w[0]:
            self.words[w[1:3]] = w[3]
        return read


@pytest.mark.parametrize(("banks", "depth"), [(1, 1), (2, 4), (3, 5), (4, 1), (1, 16)])
def test_random_accesses(banks, depth):
    dut = Banks(shape=I8, depth=depth, banks=banks)
    model = Model(banks=banks, depth=depth, seed=banks)

    async def drive(ctx):
        expected = [None, None]
        for _ in range(400):
            w, *reads = accesses = model.access()
            for port, values in zip((dut.w, dut.r_update, dut.r_drain), accesses, strict=True):
                ctx.set(port.en, values[0])
                ctx.set(port.bank, values[1])
                ctx.set(port.address, values[2])
            ctx.set(dut.w.data, w[3])
            # What the cycle before asked for is there in this one.
            for port, value in zip((dut.r_update, dut.r_drain), expected, strict=True):
                assert value is None or ctx.get(port.data) == value
            expected = model.apply(w, *reads)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


def test_a_read_sees_what_the_cycle_before_wrote_and_not_what_its_own_does():
    dut = Banks(shape=8, depth=2, banks=2)

    async def drive(ctx):
        ctx.set(dut.w.en, 1)
        ctx.set(dut.r_update.en, 1)
        seen = []
        for value in (1, 2, 3):
            ctx.set(dut.w.data, value)
            await ctx.tick()
            seen.append(ctx.get(dut.r_update.data))
        assert seen == [0, 1, 2]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


def test_ports():
    layout = data.StructLayout({"a": I8, "b": 3})
    dut = Banks(shape=layout, depth=5, banks=3)
    for port in (dut.w, dut.r_update, dut.r_drain):
        assert (len(port.bank), len(port.address), len(port.data.as_value())) == (2, 3, 11)
    assert dut.w.signature.flip() == write_port(banks=3, depth=5, shape=layout)
    assert dut.r_drain.signature.flip() == read_port(banks=3, depth=5, shape=layout)
    single = read_port(banks=1, depth=1, shape=1)  # ports of one bit exist, though always 0
    assert single.members["bank"].shape == single.members["address"].shape == range(2)


@pytest.mark.parametrize("name", ["depth", "banks"])
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_bad_counts(name, value, error):
    what = {"depth": "Depth", "banks": "Number of banks"}[name]
    message = re.escape(f"{what} must be a positive integer, not {value!r}")
    with pytest.raises(error, match=f"^{message}$"):
        Banks(shape=8, **{"depth": 1, "banks": 1, name: value})


def test_it_emits():
    rtlil = emit(Banks(shape=I8, depth=5, banks=3)).rtlil
    assert rtlil.count("cell $memrd_v2") == 3  # one read port a memory, as in block RAM
