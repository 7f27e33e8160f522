"""Simulations in C++: one shared library per design, driven with whole streams."""

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..design import Design
from ..errors import ToolError
from ..monitor import RULES, Violation
from ..packing import Words
from .compiler import Compiler
from .plan import Channel, Plan
from .simulation import Cycles, Transfers

__all__ = [
    "LIBRARY",
    "SOURCES",
    "STREAMS",
    "Driver",
    "NativeSimulation",
    "compile_library",
    "describe_ports",
    "load_library",
]

LIBRARY = "simulator.so"
SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class Driver:
    """The testbench's side of a compiled simulation, in C++.

    Members
    -------
    source : str
        The file of this package that is compiled around a design.
    headers : tuple of str
        What it includes, besides the design.
    """

    source: str
    headers: tuple[str, ...]

    def contents(self, adapter: str) -> list[bytes]:
        """Return all that a library depends on, apart from the design."""
        return [(SOURCES / name).read_bytes() for name in (self.source, *self.headers, adapter)]


STREAMS = Driver("driver.cc", ("port.h",))
"""Drives, samples and checks whole streams."""


NEVER = (1 << 64) - 1
MAX_VIOLATIONS = 64

# Room for the first outputs of a stream whose number is not known; doubled whenever it is full.
FIRST_ROOM = 1024


class _Stream(ctypes.Structure):
    """``Stream`` of the driver."""

    _fields_ = [
        ("words", ctypes.c_void_p),
        ("cycles", ctypes.c_void_p),
        ("capacity", ctypes.c_uint64),
        ("n_items", ctypes.c_uint64),
        ("n_awaited", ctypes.c_uint64),
        ("key", ctypes.c_uint64),
        ("threshold", ctypes.c_uint64),
        ("burst", ctypes.c_uint64),
        ("n_words", ctypes.c_uint32),
        ("top_mask", ctypes.c_uint32),
        ("payload", ctypes.c_int32),
        ("valid", ctypes.c_int32),
        ("ready", ctypes.c_int32),
        ("is_input", ctypes.c_uint32),
        ("n_moved", ctypes.c_uint64),
        ("first_valid", ctypes.c_uint64),
    ]


class _Violation(ctypes.Structure):
    """``Violation`` of the driver."""

    _fields_ = [
        ("cycle", ctypes.c_uint64),
        ("stream", ctypes.c_uint32),
        ("rule", ctypes.c_uint32),
    ]


@dataclass(eq=False)
class _Buffers:
    """Memory of one stream that the driver reads and writes."""

    words: Words
    cycles: Cycles

    @classmethod
    def of(cls, channel: Channel) -> "_Buffers":
        if channel.is_input:
            assert channel.words is not None
            return cls(channel.words, np.zeros(len(channel.words), np.uint64))
        room = (channel.count or 0) + FIRST_ROOM
        return cls(np.zeros((room, channel.n_words), np.uint32), np.zeros(room, np.uint64))

    def grow(self) -> None:
        room = len(self.cycles)
        self.words = np.concatenate([self.words, np.zeros_like(self.words)])
        self.cycles = np.concatenate([self.cycles, np.zeros(room, np.uint64)])

    def attach(self, stream: _Stream) -> None:
        stream.words, stream.cycles = self.words.ctypes.data, self.cycles.ctypes.data
        stream.capacity = len(self.cycles)


class NativeSimulation:
    """A design in a shared library; see :class:`~.simulation.Simulation`.

    Parameters
    ----------
    library : Path
        The compiled driver with the design in it.
    plan : Plan
        What to run.
    waves : Path, optional
        VCD file to write; the library must have been built for that.

    Raises
    ------
    ToolError
        When the library cannot be loaded.
    """

    def __init__(self, library: Path, plan: Plan, waves: Path | None = None) -> None:
        self._plan = plan
        self._library = load_library(library, _functions())
        self._buffers = [_Buffers.of(channel) for channel in plan.channels]
        self._streams = (_Stream * max(1, len(plan.channels)))()
        numbers = {port.name: number for number, port in enumerate(plan.design.ports)}
        for stream, channel, buffers in zip(
            self._streams, plan.channels, self._buffers, strict=False
        ):
            _describe(stream, channel, numbers)
            buffers.attach(stream)
        self._handle = self._library.qkloom_new(self._streams, len(plan.channels))
        if waves is not None:
            self._library.qkloom_waves(self._handle, str(waves).encode())
        for name, words in plan.levels.items():
            level = np.zeros(words.shape[1] + 1, np.uint32)  # as much as any port may take
            level[: words.shape[1]] = words[0]
            self._library.qkloom_set(self._handle, numbers[name], level.ctypes.data)

    @property
    def cycle(self) -> int:
        """Cycles since the last reset."""
        return int(self._library.qkloom_cycle(self._handle))

    @property
    def n_awaited(self) -> int:
        """Streams of which payloads are still awaited."""
        return int(self._library.qkloom_n_awaited(self._handle))

    def reset(self, cycles: int) -> None:
        """Hold the reset for so many cycles; all streams begin again."""
        self._library.qkloom_reset(self._handle, cycles)

    def advance(self, cycles: int, *, to_end: bool = True) -> None:
        """Run so many cycles, or until nothing is awaited any more if ``to_end``."""
        end = self.cycle + cycles
        while self.cycle < end and (self.n_awaited or not to_end):
            self._library.qkloom_advance(self._handle, end - self.cycle, to_end)
            for stream, channel, buffers in zip(
                self._streams, self._plan.channels, self._buffers, strict=False
            ):
                if not channel.is_input and stream.n_moved == stream.capacity:
                    buffers.grow()
                    buffers.attach(stream)

    def counts(self) -> Sequence[int]:
        """Return how many payloads have moved since the last reset, by channel of the plan."""
        return [stream.n_moved for stream in self._streams[: len(self._buffers)]]

    def transfers(self) -> Sequence[Transfers]:
        """Return what moved since the last reset, by channel of the plan."""
        return [
            Transfers(
                buffers.words[: stream.n_moved].copy(),
                buffers.cycles[: stream.n_moved].copy(),
                None if stream.first_valid == NEVER else stream.first_valid,
            )
            for stream, buffers in zip(self._streams, self._buffers, strict=False)
        ]

    def violations(self) -> Sequence[Violation]:
        """Return what broke the rules since the last reset: the first of it, if it is much."""
        found = (_Violation * MAX_VIOLATIONS)()
        n = self._library.qkloom_violations(self._handle, found, MAX_VIOLATIONS)
        channels = self._plan.channels
        return [Violation(channels[v.stream].name, RULES[v.rule], v.cycle) for v in found[:n]]

    def close(self) -> None:
        """Free the simulation, and complete its waves."""
        if self._handle is not None:
            self._library.qkloom_delete(self._handle)
            self._handle = None


def load_library(
    path: Path, functions: Mapping[str, tuple[object, Sequence[object]]]
) -> ctypes.CDLL:
    """Load a built simulator.

    Parameters
    ----------
    path : Path
        The library.
    functions : mapping
        Types of result and arguments of its functions, by name without ``qkloom_``; those that a
        library does not have are passed over.

    Raises
    ------
    ToolError
        When it cannot be loaded.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolError(
            f"Cannot load the built simulator {path}: {error}; remove it, and it is built again"
        ) from None
    for name, (result, arguments) in functions.items():
        function = getattr(library, f"qkloom_{name}", None)  # waves: not in every library
        if function is not None:
            function.restype, function.argtypes = result, arguments
    return library


def _functions() -> Mapping[str, tuple[object, Sequence[object]]]:
    pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    return {
        "new": (pointer, [pointer, u32]),
        "delete": (None, [pointer]),
        "set": (None, [pointer, u32, pointer]),
        "reset": (None, [pointer, u64]),
        "advance": (None, [pointer, u64, u32]),
        "cycle": (u64, [pointer]),
        "n_awaited": (u32, [pointer]),
        "violations": (u32, [pointer, pointer, u32]),
        "waves": (None, [pointer, ctypes.c_char_p]),
    }


def _describe(stream: _Stream, channel: Channel, numbers: dict[str, int]) -> None:
    stream.n_items = len(channel.words) if channel.is_input and channel.words is not None else 0
    stream.n_awaited = NEVER if channel.count is None else channel.count
    stream.key = channel.stall.key(channel.name)
    stream.threshold, stream.burst = channel.stall.threshold, channel.stall.burst
    stream.n_words = channel.n_words
    stream.top_mask = (1 << (channel.width % 32 or 32)) - 1
    for part in ("payload", "valid", "ready"):
        setattr(stream, part, numbers.get(f"{channel.name}__{part}", -1))
    stream.is_input = channel.is_input


def describe_ports(design: Design, mangle: Callable[[str], str]) -> str:
    """Return the header that tells the driver what the ports of a design are called in C++.

    The clock is ``clk``, with the reset ``rst``; or, where a kernel's pins have vendors' names,
    ``ap_clk`` with ``ap_rst_n``, which resets at 0.

    Raises
    ------
    ValueError
        When the design has a clock domain other than ``sync``.
    """
    module = re.search(
        rf"^module \\{re.escape(design.name)}$(.*?)^end$", design.rtlil, re.DOTALL | re.MULTILINE
    )
    if module is None:
        raise ValueError(f"The RTLIL of {design.name} does not have a module of that name")
    inputs = set(re.findall(r"^  wire .*\binput \d+ .*\\(\w+)$", module[1], re.MULTILINE))
    clocks = inputs - {port.name for port in design.ports}
    if others := clocks - {"clk", "rst"}:
        raise ValueError(
            f"Engines simulate the clock domain sync only, and {design.name} has {sorted(others)}"
        )
    lines = [
        "#define QKLOOM_PORTS(top) " + ", ".join(f"at(top.{mangle(p.name)})" for p in design.ports)
    ]
    clock, reset, level = ("ap_clk", "ap_rst_n", 0) if "ap_clk" in inputs else ("clk", "rst", 1)
    if clock in inputs:
        lines.append(f"#define QKLOOM_CLOCK {mangle(clock)}")
    if reset in inputs:
        lines.append(f"#define QKLOOM_RESET {mangle(reset)}")
        lines.append(f"#define QKLOOM_RESET_LEVEL {level}")
    return "\n".join(lines) + "\n"


def compile_library(
    folder: Path,
    compiler: Compiler,
    adapter: str,
    arguments: Sequence[str],
    *,
    driver: Driver,
    waves: bool,
) -> None:
    """Compile a driver around a design into ``folder / LIBRARY``.

    Parameters
    ----------
    folder : Path
        Holds ports.h and whatever the adapter includes.
    compiler : Compiler
        What compiles it.
    adapter : str
        The header of this package that makes a ``Dut`` of the design.
    arguments : sequence of str
        Further arguments: include folders, other files.
    driver : Driver
        What drives the design.
    waves : bool
        Whether the simulation can write waves.

    Raises
    ------
    ToolError
        When it does not compile.
    """
    compiler.run(
        [
            "-shared",
            "-fvisibility=hidden",
            "-I.",
            f"-I{SOURCES}",
            f'-DQKLOOM_DUT="{adapter}"',
            *(["-DQKLOOM_WAVES"] if waves else []),
            str(SOURCES / driver.source),
            *arguments,
        ],
        makes=LIBRARY,
        cwd=folder,
    )
