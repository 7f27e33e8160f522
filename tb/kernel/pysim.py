"""Kernels under the Amaranth simulator: slow, and what the other engines are measured against."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import ClockDomain, Fragment, Value
from amaranth.sim import Simulator
from numpy.typing import NDArray

from ..design import Design
from ..engines.pysim import PERIOD, Wires
from ..memory.counters import ChannelCounters, PortCounters
from ..memory.model import ManagerPins, Memory, MemoryPins, Request
from ..memory.parameters import Fault, MemoryModel
from ..memory.rules import AxiViolation
from ..stalls import Stall
from .control import Control, ControlPins, ControlSample
from .pins import Bus, KernelPins

__all__ = ["PyKernel"]

DRIVEN = (
    *("arready", "awready", "wready", "rvalid", "bvalid"),
    *("rid", "rdata", "rresp", "rlast", "bid", "bresp"),
)
SAMPLED = ("arvalid", "awvalid", "wvalid", "rready", "bready")
SAMPLED_AR = ("araddr", "arid", "arlen", "arsize", "arburst")
SAMPLED_AW = ("awaddr", "awid", "awlen", "awsize", "awburst")
SAMPLED_W = ("wdata", "wstrb", "wlast")
CONTROL_DRIVEN = ("awvalid", "wvalid", "arvalid", "bready", "rready")
CONTROL_PAYLOADS = ("awaddr", "araddr", "wdata", "wstrb")
CONTROL_SAMPLED = ControlSample._fields


class PyKernel:
    """A kernel under the Amaranth simulator; see :class:`~.simulation.Engine`.

    Parameters
    ----------
    design : Design
        The kernel.
    pins : KernelPins
        Its ports.
    model : MemoryModel
        The memory.
    storage : mapping
        Its contents by channel.
    stalls : Stall
        Of the host.
    waves : Path, optional
        VCD file to write.
    """

    def __init__(
        self,
        design: Design,
        pins: KernelPins,
        model: MemoryModel,
        storage: Mapping[int, NDArray[np.uint8]],
        stalls: Stall,
        waves: Path | None = None,
    ) -> None:
        self.cycle = 0
        self._memory = Memory(model, storage, {bus.name: bus.bytes for bus in pins.managers})
        name = pins.control.name if pins.control else ""
        self._control = Control(stalls, name, self._memory.violations)
        self._buses = pins.managers
        self._interrupts = False
        self._resets_left: int | None = None
        signals = {
            "__".join(map(str, path)): Value.cast(value)
            for path, _, value in design.component.signature.flatten(design.component)
        }

        def wires(bus: Bus | None, names: Sequence[str]) -> list[Value | None]:
            prefix = bus.name if bus else ""
            return [signals.get(f"{prefix}_{name}") for name in names]

        managers, control = pins.managers, pins.control
        sampled = (*SAMPLED, *SAMPLED_AR, *SAMPLED_AW, *SAMPLED_W)
        self._drives = Wires(
            [s for bus in managers for s in wires(bus, DRIVEN)]
            + wires(control, CONTROL_DRIVEN + CONTROL_PAYLOADS)
        )
        self._samples = Wires(
            [s for bus in managers for s in wires(bus, sampled)]
            + wires(control, CONTROL_SAMPLED)
            + [signals.get("interrupt")]
        )
        self._n_sampled = len(sampled)
        self._absent = [0] * (len(managers) * len(sampled) + len(CONTROL_SAMPLED) + 1)
        fragment = Fragment.get(design.component, None)
        if "ap_clk" in signals:
            self._clk, self._rst = signals["ap_clk"], signals["ap_rst_n"]
            self._reset_level = 0
        else:
            domain = ClockDomain("sync")
            assert domain.rst is not None
            self._clk, self._rst, self._reset_level = domain.clk, domain.rst, 1
            fragment.add_domains(domain)
        self._simulator = Simulator(fragment)
        self._simulator.add_testbench(self._bench)
        self._stack = ExitStack()
        if waves is not None:
            self._stack.enter_context(self._simulator.write_vcd(str(waves)))

    def reset(self, cycles: int) -> None:
        """Hold the reset for so many cycles."""
        self._memory.restart()
        self._control.restart()
        self.cycle = 0
        self._n_resets, self._resets_left = cycles, cycles
        while self._resets_left:
            self._simulator.advance()
        self._resets_left = None

    def run(self, cycles: int, until_interrupt: bool) -> bool:
        """Run; return whether an interrupt that was waited for was seen."""
        for _ in range(cycles):
            self._step()
            if self._interrupts and until_interrupt:
                return True
        return False

    def access(self, address: int, value: int | None, max_cycles: int) -> tuple[int, int] | None:
        """Write, or read; return response and data, or ``None`` if there was no answer."""
        control = self._control
        if control.is_busy:
            return None
        control.begin(address, value)
        for _ in range(max_cycles):
            self._step()
            if not control.is_busy:
                return control.response, control.data
        return None

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Let other things go wrong from now on."""
        self._memory.faults = tuple(faults)

    def port_counters(self) -> list[PortCounters]:
        """Return the counters of each port."""
        return self._memory.port_counters()

    def channel_counters(self) -> list[ChannelCounters]:
        """Return the counters of each pseudo-channel."""
        return self._memory.channel_counters()

    def violations(self) -> list[AxiViolation]:
        """Return the first rules that were broken since the last reset."""
        return list(self._memory.violations.found)

    def close(self) -> None:
        """Complete the waves."""
        self._stack.close()

    def _step(self) -> None:
        before = self.cycle
        while self.cycle == before:
            self._simulator.advance()

    async def _bench(self, ctx: Any) -> None:
        memory, control, drives, samples = self._memory, self._control, self._drives, self._samples
        ports = range(len(self._buses))
        while True:
            resets = self._resets_left
            ctx.set(self._clk, 0)
            ctx.set(self._rst, self._reset_level ^ (resets is None))
            driven: list[int] = []
            for n, bus in enumerate(self._buses):
                driven += _driven(
                    memory.drive(n, self.cycle) if resets is None else memory.idle(n), bus
                )
            driven += _control_driven(control.drive(self.cycle) if resets is None else control.pins)
            ctx.set(drives.all, drives.join(driven))
            await ctx.delay(PERIOD / 2)
            sampled = samples.split(ctx.get(samples.all), self._absent)
            n = self._n_sampled
            managers = [_manager(sampled[n * port : n * (port + 1)]) for port in ports]
            answers = ControlSample(*sampled[n * len(managers) : -1])
            if resets is None:
                for port in ports:
                    memory.sample(port, self.cycle, managers[port])
                control.sample(self.cycle, answers)
                self._interrupts = bool(sampled[-1])
                self.cycle += 1
            else:
                # After an edge, which may have been the first one at all.
                if resets == 1 < self._n_resets:
                    for port in ports:
                        memory.sample_reset(port, managers[port])
                    control.sample_reset(answers)
                self._resets_left = resets - 1
            ctx.set(self._clk, 1)
            # What comes next may be a reset: nothing is driven before there was time to ask.
            await ctx.delay(PERIOD / 2)


def _driven(pins: MemoryPins, bus: Bus) -> list[int]:
    values = {name: int(getattr(pins, name)) for name in DRIVEN}
    values |= {"rid": pins.rid & bus.id_mask, "bid": pins.bid & bus.id_mask}
    return list(values.values())


def _control_driven(pins: ControlPins) -> list[int]:
    return [
        *(int(getattr(pins, name)) for name in CONTROL_DRIVEN),
        pins.address if pins.awvalid else 0,
        pins.address if pins.arvalid else 0,
        pins.data if pins.wvalid else 0,
        15 if pins.wvalid else 0,
    ]


def _manager(values: Sequence[int]) -> ManagerPins:
    arvalid, awvalid, wvalid, rready, bready = values[:5]
    ar, aw = Request(*values[5:10]), Request(*values[10:15])
    return ManagerPins(arvalid, awvalid, wvalid, rready, bready, ar, aw, *values[15:])
