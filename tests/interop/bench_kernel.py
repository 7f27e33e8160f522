"""A cocotb test of a kernel: a host and memories that know nothing of us run attention on it."""

import json
import logging
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

PLAN = json.loads(Path(os.environ["PLAN"]).read_text())


def pauses(seed):
    """Return a pattern of random stalls."""
    rng = random.Random(seed)
    while True:
        yield rng.random() < 0.3


@cocotb.test()
async def attention(dut):
    """Write the registers, start, wait for the interrupt, and compare memory byte by byte."""
    cocotb.start_soon(Clock(dut.ap_clk, 10, "ns").start())
    dut.ap_rst_n.value = 0
    control = AxiLiteMaster(
        AxiLiteBus.from_prefix(dut, "s_axi_control"),
        dut.ap_clk,
        dut.ap_rst_n,
        reset_active_level=False,
    )
    rams = []
    for number, size in enumerate(PLAN["sizes"]):
        bus = AxiBus.from_prefix(dut, f"m{number:02}_axi")
        # The memory wraps addresses at its size: a power of two that divides a channel's base.
        ram = AxiRam(bus, dut.ap_clk, dut.ap_rst_n, reset_active_level=False, size=size)
        for side in (ram.read_if, ram.write_if):
            side.log.setLevel(logging.ERROR)
        channels = [
            ram.read_if.ar_channel,
            ram.read_if.r_channel,
            ram.write_if.aw_channel,
            ram.write_if.w_channel,
            ram.write_if.b_channel,
        ]
        for k, channel in enumerate(channels):
            channel.set_pause_generator(pauses(10 * number + k))
        ram.write(0, bytes.fromhex(PLAN["before"][number]))
        rams.append(ram)
    for channel in (control.write_if.aw_channel, control.write_if.w_channel):
        channel.set_pause_generator(pauses(99))
    for side in (control.write_if, control.read_if):
        side.log.setLevel(logging.ERROR)

    await ClockCycles(dut.ap_clk, 5)
    dut.ap_rst_n.value = 1
    await RisingEdge(dut.ap_clk)
    for offset, value in PLAN["writes"]:
        await control.write_dword(offset, value)
    await control.write_dword(0x04, 1)
    await control.write_dword(0x08, 1)
    await control.write_dword(0x00, 1)
    await with_timeout(RisingEdge(dut.interrupt), PLAN["max_cycles"] * 10, "ns")
    assert await control.read_dword(PLAN["error"]) == 0
    assert await control.read_dword(0x00) & 2
    await control.write_dword(0x00, 1 << 4)
    await control.write_dword(0x0C, 1)
    assert await control.read_dword(0x00) & 6 == 4
    for ram, after in zip(rams, PLAN["after"], strict=True):
        expected = bytes.fromhex(after)
        assert ram.read(0, len(expected)) == expected
