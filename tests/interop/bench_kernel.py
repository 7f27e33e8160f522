"""cocotb tests of a kernel, by a host and memory of cocotbext-axi, which know nothing of us."""

import itertools
import json
import logging
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

FOLDER = Path(os.environ["PLAN"])
PLAN = json.loads((FOLDER / "plan.json").read_text())
CHANNELS = range(PLAN["n_channels"])
OK, HEADS = 0, 1
START, DONE, IDLE, CONTINUE = 1, 2, 4, 16
PERIOD = 10
TIMEOUT = 100_000
"""Cycles that a call may take."""


class Host:
    """The kernel, a memory on each channel, and a host's registers."""

    def __init__(self, dut, *, stalls=0):
        self.dut = dut
        cocotb.start_soon(Clock(dut.ap_clk, PERIOD, "ns").start())
        ends = {"clock": dut.ap_clk, "reset": dut.ap_rst_n, "reset_active_level": False}
        self.rams = [
            AxiRam(AxiBus.from_prefix(dut, f"m{n:02}_axi"), **ends, size=len(content("before", n)))
            for n in CHANNELS
        ]
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), **ends)
        for number, side in enumerate(
            side for device in (self.bus, *self.rams) for side in (device.write_if, device.read_if)
        ):
            side.log.setLevel(logging.WARNING)
            for name in ("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel"):
                if stalls and hasattr(side, name):
                    pattern = pauses(f"{stalls} {number} {name}")
                    getattr(side, name).set_pause_generator(pattern)

    async def begin(self):
        """Reset everything, and write the tensors."""
        self.dut.ap_rst_n.value = 0
        await ClockCycles(self.dut.ap_clk, 4)
        self.dut.ap_rst_n.value = 1
        await RisingEdge(self.dut.ap_clk)
        self.write_memory()
        await self.write("global_interrupt_enable", 1)
        await self.write("interrupt_enable", 1)

    def write_memory(self):
        for n, ram in enumerate(self.rams):
            ram.write(0, content("before", n))

    async def write(self, name, value):
        words = PLAN["words"][name]
        content = (value & (1 << 32 * words) - 1).to_bytes(4 * words, "little")
        await self.bus.write(PLAN["registers"][name], content)

    async def read(self, name):
        answer = await self.bus.read(PLAN["registers"][name], 4 * PLAN["words"][name])
        return int.from_bytes(answer.data, "little")

    async def start(self, number, **changes):
        for name, value in {**PLAN["calls"][number]["arguments"], **changes}.items():
            await self.write(name, value)
        await self.write("control", START)

    async def wait(self):
        """Wait for the interrupt of the oldest call; return its code.

        That of the call before may last a cycle longer than the write which clears it.
        """
        while not await self.read("control") & DONE:
            if not self.dut.interrupt.value:
                limit = Timer(TIMEOUT * PERIOD, "ns")
                assert await First(RisingEdge(self.dut.interrupt), limit) is not limit
        assert self.dut.interrupt.value
        code = await self.read("error") & 255
        await self.write("control", CONTINUE)
        await self.write("interrupt_status", 1)
        return code

    def check(self, name):
        """Compare every byte of memory, those between the tensors too."""
        for n, ram in enumerate(self.rams):
            assert ram.read(0, ram.size) == content(name, n), f"channel {n}"


class Ledger:
    """Counts requests, bursts of data and answers of a channel, at its pins."""

    def __init__(self, dut, channel):
        self.moved = dict.fromkeys(("ar", "r", "aw", "w", "b"), 0)
        pins = {}
        for name in self.moved:
            ends = ["valid", "ready", *(["last"] if name in "rw" else [])]
            pins[name] = [getattr(dut, f"m{channel:02}_axi_{name}{end}") for end in ends]
        cocotb.start_soon(self._watch(dut.ap_clk, pins))

    async def _watch(self, clock, pins):
        while True:
            await RisingEdge(clock)
            for name, signals in pins.items():
                self.moved[name] += all(signal.value for signal in signals)


def content(name, channel):
    return (FOLDER / f"{name}_{channel}").read_bytes()


def pauses(seed):
    rng = random.Random(seed)
    for _ in itertools.count():
        yield rng.random() < 0.4


@cocotb.test()
@cocotb.parametrize(stalls=[0, 1, 2])
async def computes(dut, stalls):
    """Every byte of attention on real tensors, and no other byte of memory."""
    host = Host(dut, stalls=stalls)
    await host.begin()
    await host.start(0)
    assert await host.wait() == OK
    host.check("after_0")
    for name, expected in PLAN["calls"][0]["bytes"].items():
        assert await host.read(f"{name}_bytes") == expected
    assert await host.read("calls_done") == 1
    assert await host.read("control") & IDLE


@cocotb.test()
async def queues(dut):
    """A call starts while another runs, and each has its own interrupt."""
    host = Host(dut, stalls=3)
    await host.begin()
    await host.start(0)
    await host.start(1)
    assert not dut.interrupt.value  # so the second one was started while the first one ran
    assert await host.wait() == OK
    assert await host.wait() == OK
    for n, ram in enumerate(host.rams):
        both = zip(content("before", n), content("after_0", n), content("after_1", n), strict=True)
        expected = bytes(a if a != old else b for old, a, b in both)
        assert ram.read(0, ram.size) == expected
    assert await host.read("calls_done") == 2


@cocotb.test()
async def refuses(dut):
    """A call without heads has a code, and takes nothing from memory; the next one is computed."""
    host = Host(dut)
    await host.begin()
    await host.start(1, heads=0)
    assert await host.wait() == HEADS
    host.check("before")
    await host.start(1)
    assert await host.wait() == OK
    host.check("after_1")


@cocotb.test()
@cocotb.parametrize(begun=["ar", "r", "aw"])
async def resets(dut, begun):
    """A soft reset in the middle of a call leaves no burst unanswered; then it computes."""
    host = Host(dut, stalls=4)
    await host.begin()
    ledgers = [Ledger(dut, n) for n in CHANNELS]
    await host.start(1)
    for _ in range(TIMEOUT):
        await RisingEdge(dut.ap_clk)
        if any(ledger.moved[begun] for ledger in ledgers):
            break
    await host.write("reset", 1)
    for _ in range(TIMEOUT // 100):
        if not await host.read("reset"):
            break
    assert not await host.read("reset")
    moved = [ledger.moved.copy() for ledger in ledgers]
    assert any(ledger.moved[begun] for ledger in ledgers)
    for ledger in ledgers:
        assert ledger.moved["r"] == ledger.moved["ar"]
        assert ledger.moved["aw"] == ledger.moved["w"] == ledger.moved["b"]
    await ClockCycles(dut.ap_clk, 200)
    assert [ledger.moved for ledger in ledgers] == moved
    assert await host.read("control") & (DONE | IDLE) == IDLE
    host.write_memory()
    await host.start(1)
    assert await host.wait() == OK
    host.check("after_1")
