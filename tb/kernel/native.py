"""Kernels in C++: one shared library, with the memory and the host beside the design."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..design import Design
from ..engines.native import Driver, load_library
from ..memory.counters import ChannelCounters, PortCounters
from ..memory.parameters import ORDERS, Fault, MemoryModel
from ..memory.rules import CHANNELS, RULES, AxiViolation
from ..stalls import Stall
from .pins import BUS, Bus, KernelPins

__all__ = ["KERNEL", "NativeKernel"]

KERNEL = Driver("kernel.cc", ("port.h", "control.h", "memory.h", "dram.h"))
"""Memory behind the AXI ports of a design, and a host before its registers."""

NEVER = (1 << 64) - 1
MAX_VIOLATIONS = 64

Counters = TypeVar("Counters", PortCounters, ChannelCounters)


class _Timing(ctypes.Structure):
    """``Timing`` of the driver."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("atom", "refresh_interval", "refresh"),
            *("activate", "precharge", "row_cycle", "turnaround"),
        )
    ]


class _Pattern(ctypes.Structure):
    """``Pattern`` of the driver."""

    _fields_ = [("threshold", ctypes.c_uint64), ("burst", ctypes.c_uint64)]

    @classmethod
    def of(cls, stall: Stall) -> "_Pattern":
        return cls(stall.threshold, stall.burst)


class _Parameters(ctypes.Structure):
    """``Parameters`` of the driver."""

    _fields_ = [
        ("timing", _Timing),
        *(
            (name, ctypes.c_uint64)
            for name in (
                *("narrow", "narrow_atom"),
                *("n_channels", "channel_bits", "storage_bytes"),
                *("latency", "outstanding", "write_buffer", "order"),
            )
        ),
        ("refusals", _Pattern),
        ("gaps", _Pattern),
        ("delay_threshold", ctypes.c_uint64),
        ("delay_most", ctypes.c_uint64),
    ]


class _Port(ctypes.Structure):
    """``MemoryPort`` of the driver."""

    _fields_ = [
        ("keys", ctypes.c_uint64 * len(CHANNELS)),
        ("order_key", ctypes.c_uint64),
        ("delay_key", ctypes.c_uint64),
        ("bytes", ctypes.c_uint32),
    ]


class _Fault(ctypes.Structure):
    """``Fault`` of the driver."""

    _fields_ = [
        ("kind", ctypes.c_uint32),
        ("reads", ctypes.c_uint32),
        ("writes", ctypes.c_uint32),
        ("port", ctypes.c_int32),
        ("beat", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
    ]


class _Setup(ctypes.Structure):
    """``Setup`` of the driver."""

    _fields_ = [
        ("parameters", ctypes.c_void_p),
        ("storage", ctypes.c_void_p),
        ("ports", ctypes.c_void_p),
        ("pins", ctypes.c_void_p),
        ("id_masks", ctypes.c_void_p),
        ("n_ports", ctypes.c_uint32),
        ("interrupt", ctypes.c_int32),
        ("control", ctypes.c_int32 * len(BUS)),
        ("control_keys", ctypes.c_uint64 * len(CHANNELS)),
        ("control_stalls", _Pattern),
    ]


class _Violation(ctypes.Structure):
    """``AxiViolation`` of the driver."""

    _fields_ = [
        ("cycle", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("stream", ctypes.c_uint32),
        ("rule", ctypes.c_uint32),
    ]


class NativeKernel:
    """A kernel in a shared library; see :class:`~.simulation.Engine`.

    Parameters
    ----------
    library : Path
        The compiled driver with the design in it.
    design : Design
        The kernel.
    pins : KernelPins
        Its ports.
    model : MemoryModel
        The memory.
    storage : mapping
        Its contents by channel, which the library reads and writes in place.
    stalls : Stall
        Of the host.
    waves : Path, optional
        VCD file to write; the library must have been built for that.

    Raises
    ------
    ToolError
        When the library cannot be loaded.
    """

    def __init__(
        self,
        library: Path,
        design: Design,
        pins: KernelPins,
        model: MemoryModel,
        storage: Mapping[int, NDArray[np.uint8]],
        stalls: Stall,
        waves: Path | None = None,
    ) -> None:
        self._library = load_library(library, _functions())
        self._pins, self._n_channels = pins, model.n_channels
        self._storage = storage
        numbers = {port.name: number for number, port in enumerate(design.ports)}
        n = max(1, len(pins.managers))
        parameters = describe_model(model)
        arrays = (ctypes.c_void_p * len(storage))(
            *(storage[channel].ctypes.data for channel in range(model.n_channels))
        )
        ports = (_Port * n)(*(describe_port(model, bus.name, bus.bytes) for bus in pins.managers))
        places = (ctypes.c_int32 * (n * len(BUS)))(
            *(place for bus in pins.managers for place in _places(bus, numbers))
        )
        masks = (ctypes.c_uint32 * n)(*(bus.id_mask for bus in pins.managers))
        control = pins.control
        setup = _Setup(
            parameters=ctypes.addressof(parameters),
            storage=ctypes.addressof(arrays),
            ports=ctypes.addressof(ports),
            pins=ctypes.addressof(places),
            id_masks=ctypes.addressof(masks),
            n_ports=len(pins.managers),
            interrupt=numbers.get("interrupt", -1),
            control=(ctypes.c_int32 * len(BUS))(
                *(_places(control, numbers) if control else [-1] * len(BUS))
            ),
            control_keys=(ctypes.c_uint64 * len(CHANNELS))(
                *(stalls.key(f"{control.name if control else ''} {c}") for c in CHANNELS)
            ),
            control_stalls=_Pattern.of(stalls),
        )
        self._handle = self._library.qkloom_new(ctypes.addressof(setup))
        if waves is not None:
            self._library.qkloom_waves(self._handle, str(waves).encode())
        self.set_faults(model.faults)

    @property
    def cycle(self) -> int:
        """Cycles since the last reset."""
        return int(self._library.qkloom_cycle(self._handle))

    def reset(self, cycles: int) -> None:
        """Hold the reset for so many cycles."""
        self._library.qkloom_reset(self._handle, cycles)

    def run(self, cycles: int, until_interrupt: bool) -> bool:
        """Run; return whether an interrupt that was waited for was seen."""
        return bool(self._library.qkloom_run(self._handle, cycles, until_interrupt))

    def access(self, address: int, value: int | None, max_cycles: int) -> tuple[int, int] | None:
        """Write, or read; return response and data, or ``None`` if there was no answer."""
        answer = self._library.qkloom_access(
            self._handle, value is not None, address, value or 0, max_cycles
        )
        return None if answer == NEVER else (answer >> 32, answer & 0xFFFFFFFF)

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Let other things go wrong from now on."""
        array = (_Fault * max(1, len(faults)))(*map(describe_fault, faults))
        self._library.qkloom_faults(self._handle, array, len(faults))

    def port_counters(self) -> list[PortCounters]:
        """Return the counters of each port."""
        function = self._library.qkloom_port_counters
        n = len(self._pins.managers)
        return [_counters(PortCounters, function, self._handle, port) for port in range(n)]

    def channel_counters(self) -> list[ChannelCounters]:
        """Return the counters of each pseudo-channel."""
        function = self._library.qkloom_dram_counters
        return [
            _counters(ChannelCounters, function, self._handle, channel)
            for channel in range(self._n_channels)
        ]

    def violations(self) -> list[AxiViolation]:
        """Return the first rules that were broken since the last reset."""
        found = (_Violation * MAX_VIOLATIONS)()
        n = self._library.qkloom_violations(self._handle, found, MAX_VIOLATIONS)
        buses = [*self._pins.managers, self._pins.control]
        result = []
        for v in found[:n]:
            port, channel = divmod(v.stream, len(CHANNELS))
            bus = buses[port]
            name = f"{bus.name if bus else ''} {CHANNELS[channel]}"
            result.append(AxiViolation(name, RULES[v.rule], v.cycle, v.address))
        return result

    def close(self) -> None:
        """Free the simulation, and complete its waves."""
        if self._handle is not None:
            self._library.qkloom_delete(self._handle)
            self._handle = None


def describe_model(model: MemoryModel) -> _Parameters:
    """Return ``Parameters`` of a model."""
    timing = _Timing(**asdict(model.timing))
    return _Parameters(
        timing=timing,
        narrow=sum(1 << channel for channel in model.narrow),
        narrow_atom=model.atom_of(model.narrow_bandwidth),
        n_channels=model.n_channels,
        channel_bits=model.channel_bits,
        storage_bytes=model.storage_bytes,
        latency=model.latency,
        outstanding=model.outstanding,
        write_buffer=model.write_buffer,
        order=ORDERS.index(model.order),
        refusals=_Pattern.of(model.refusals),
        gaps=_Pattern.of(model.gaps),
        delay_threshold=model.delays.threshold,
        delay_most=model.delay_most,
    )


def describe_port(model: MemoryModel, name: str, n_bytes: int) -> _Port:
    """Return ``MemoryPort`` of a port."""
    stalls = {"r": model.gaps, "b": model.gaps}
    keys = [stalls.get(c, model.refusals).key(f"{name} {c}") for c in CHANNELS]
    return _Port(
        keys=(ctypes.c_uint64 * len(CHANNELS))(*keys),
        order_key=model.key(f"{name} order"),
        delay_key=model.key(f"{name} delay"),
        bytes=n_bytes,
    )


def describe_fault(fault: Fault) -> _Fault:
    """Return ``Fault`` of a fault."""
    return _Fault(
        kind=("slverr", "decerr", "stall").index(fault.kind),
        reads=fault.direction != "write",
        writes=fault.direction != "read",
        port=-1 if fault.port is None else fault.port,
        beat=NEVER if fault.beat is None else fault.beat,
        first=fault.first,
        last=fault.last,
    )


def _counters(kind: type[Counters], function: object, handle: object, number: int) -> Counters:
    names = [field.name for field in fields(kind)]
    words = (ctypes.c_uint64 * len(names))()
    function(handle, number, words)  # type: ignore[operator]
    return kind(**dict(zip(names, words, strict=True)))


def _places(bus: Bus, numbers: Mapping[str, int]) -> list[int]:
    return [numbers.get(f"{bus.name}_{pin}", -1) for pin in BUS]


def _functions() -> Mapping[str, tuple[object, Sequence[object]]]:
    pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    return {
        "new": (pointer, [pointer]),
        "delete": (None, [pointer]),
        "reset": (None, [pointer, u64]),
        "run": (u32, [pointer, u64, u32]),
        "access": (u64, [pointer, u32, u64, u32, u64]),
        "cycle": (u64, [pointer]),
        "faults": (None, [pointer, pointer, u32]),
        "port_counters": (None, [pointer, u32, pointer]),
        "dram_counters": (None, [pointer, u32, pointer]),
        "violations": (u32, [pointer, pointer, u32]),
        "waves": (None, [pointer, ctypes.c_char_p]),
    }
