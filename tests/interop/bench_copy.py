"""cocotb tests of a copier: what cocotbext-axi, which knows nothing of us, says of the managers."""

import itertools
import logging
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiRam

BYTES = int(os.environ["BEAT_BYTES"])
SIZE = 1 << 17
TIMEOUT = 20_000


class Copier:
    """The component, memory on its bus, and what memory should hold."""

    def __init__(self, dut, *, stalls):
        self.dut = dut
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m00_axi"), dut.clk, dut.rst, size=SIZE)
        self.rng = random.Random(stalls)
        for side in (self.ram.read_if, self.ram.write_if):
            side.log.setLevel(logging.WARNING)
        channels = [
            self.ram.read_if.ar_channel,
            self.ram.read_if.r_channel,
            self.ram.write_if.aw_channel,
            self.ram.write_if.w_channel,
            self.ram.write_if.b_channel,
        ]
        for number, channel in enumerate(channels):
            if stalls:
                channel.set_pause_generator(pauses(stalls * 10 + number))
        self.expected = bytearray(self.rng.randbytes(SIZE))
        self.ram.write(0, bytes(self.expected))

    async def reset(self):
        self.dut.start.value = 0
        self.dut.halt.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def start(self, source, target, beats, strb=(1 << BYTES) - 1):
        dut = self.dut
        dut.source.value, dut.target.value, dut.beats.value = source, target, beats
        dut.strb.value, dut.start.value = strb, 1
        await RisingEdge(dut.clk)
        while not dut.taken.value:
            await RisingEdge(dut.clk)
        dut.start.value = 0

    def expect(self, source, target, beats, strb=(1 << BYTES) - 1):
        for k in range(beats * BYTES):
            if strb >> k % BYTES & 1:
                self.expected[target + k] = self.expected[source + k]

    async def wait(self, signal, value=1):
        for _ in range(TIMEOUT):
            await RisingEdge(self.dut.clk)
            if signal.value == value:
                return
        raise AssertionError(f"{signal._name} never became {value}")

    def check(self):
        assert self.ram.read(0, SIZE) == bytes(self.expected)


def pauses(seed):
    rng = random.Random(seed)
    for _ in itertools.count():
        yield rng.random() < 0.4


def place(rng, beats):
    return rng.randrange(SIZE // BYTES // 2 - beats) * BYTES


@cocotb.test()
@cocotb.parametrize(stalls=[0, 1, 2])
async def copies(dut, stalls):
    """Any number of beats from anywhere to anywhere, and not a byte beside them."""
    copier = Copier(dut, stalls=stalls)
    await copier.reset()
    rng = copier.rng
    for number, beats in enumerate([1, 2, 64, 65, 200, rng.randint(1, 200)]):
        source = place(rng, beats)
        target = SIZE // 2 + place(rng, beats)
        strb = rng.choice([(1 << BYTES) - 1, rng.getrandbits(BYTES)])
        await copier.start(source, target, beats, strb)
        await copier.wait(dut.done, number + 1)
        copier.expect(source, target, beats, strb)
    await copier.wait(dut.idle)
    copier.check()
    assert dut.failed.value == 0


@cocotb.test()
async def keeps_the_bus_busy(dut):
    """Copies several commands, one behind the other, at little less than a beat a cycle."""
    copier = Copier(dut, stalls=0)
    await copier.reset()
    start = get_sim_time("ns")
    for k in range(4):
        await copier.start(k * 200 * BYTES, SIZE // 2 + k * 200 * BYTES, 200)
        copier.expect(k * 200 * BYTES, SIZE // 2 + k * 200 * BYTES, 200)
    await copier.wait(dut.done, 4)
    assert get_sim_time("ns") - start < 900 * 10
    copier.check()


@cocotb.test()
@cocotb.parametrize(cycles=[5, 40, 90, 171])
async def halts(dut, cycles):
    """What has begun ends, nothing else does, and then it copies again."""
    copier = Copier(dut, stalls=cycles)
    await copier.reset()
    await copier.start(0, SIZE // 2, 200)
    await ClockCycles(dut.clk, cycles)
    dut.halt.value = 1
    await ClockCycles(dut.clk, 3)
    await copier.wait(dut.idle)
    dut.halt.value = 0
    copied = copier.ram.read(0, SIZE)
    for k in range(200):
        at = SIZE // 2 + k * BYTES
        assert copied[at : at + BYTES] in (
            copier.expected[at : at + BYTES],
            copier.expected[k * BYTES : (k + 1) * BYTES],
        )
    copier.expected[SIZE // 2 : SIZE // 2 + 200 * BYTES] = copied[SIZE // 2 :][: 200 * BYTES]
    before = int(dut.done.value)
    await copier.start(0x2000, SIZE - 0x4000, 100)
    await copier.wait(dut.done, before + 1)
    copier.expect(0x2000, SIZE - 0x4000, 100)
    copier.check()
