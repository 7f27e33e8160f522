"""The memory in Python and in C++: the same stimuli, the same answers in the same cycles."""

import ctypes
import random
from pathlib import Path

import numpy as np
import pytest

from qkloom.tb.engines import default_cache, find_compiler
from qkloom.tb.engines.native import LIBRARY, Driver, compile_library, load_library
from qkloom.tb.kernel import native
from qkloom.tb.memory import Fault, MemoryModel
from qkloom.tb.memory.counters import ChannelCounters, PortCounters
from qkloom.tb.memory.model import ManagerPins, Memory, Request
from qkloom.tb.memory.rules import CHANNELS, RULES, AxiViolation
from qkloom.tb.stalls import Stall

ALONE = Driver(str(Path(__file__).with_name("alone.cc")), ("port.h", "memory.h", "dram.h"))
PORTS = {"m00_axi": 32, "m01_axi": 64, "m02_axi": 4}
N_CHANNELS, STORAGE = 4, 1 << 16
NEAR = {"n_channels": N_CHANNELS, "channel_bytes": 1 << 18, "storage_bytes": STORAGE}

FLAGS = ("arvalid", "awvalid", "wvalid", "wlast", "rready", "bready")
DRIVEN = (
    *("arready", "awready", "wready", "rvalid", "bvalid"),
    *("rlast", "rid", "rresp", "bid", "bresp"),
)


class NativeRequest(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("id", "length", "size", "burst")),
    ]


class In(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint32) for name in FLAGS),
        ("ar", NativeRequest),
        ("aw", NativeRequest),
        ("wdata", ctypes.c_uint8 * 128),
        ("wstrb", ctypes.c_uint8 * 16),
    ]


class Out(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint32) for name in DRIVEN),
        ("rdata", ctypes.c_uint8 * 128),
    ]


class NativeMemory:
    """The C++ form, with the methods of the Python form."""

    def __init__(self, path, model, storage, ports):
        functions = dict(native._functions())
        pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
        functions["new"] = (pointer, [pointer, pointer, pointer, u32])
        functions["restart"] = (None, [pointer])
        for name in ("drive", "sample"):
            functions[name] = (None, [pointer, u32, u64, pointer])
        self._library = load_library(path, functions)
        self._names, self._widths = list(ports), list(ports.values())
        arrays = (pointer * len(storage))(*(storage[n].ctypes.data for n in storage))
        described = [native.describe_port(model, *port) for port in ports.items()]
        parameters = native.describe_model(model)
        self._handle = self._library.qkloom_new(
            ctypes.addressof(parameters),
            arrays,
            (native._Port * len(ports))(*described),
            len(ports),
        )
        self.set_faults(model.faults)

    def set_faults(self, faults):
        array = (native._Fault * max(1, len(faults)))(*map(native.describe_fault, faults))
        self._library.qkloom_faults(self._handle, array, len(faults))

    def restart(self):
        self._library.qkloom_restart(self._handle)

    def drive(self, port, cycle):
        out = Out()
        self._library.qkloom_drive(self._handle, port, cycle, ctypes.addressof(out))
        width = self._widths[port]
        data = int.from_bytes(bytes(out.rdata)[:width], "little")
        return {**{name: getattr(out, name) for name in DRIVEN}, "rdata": data}

    def sample(self, port, cycle, pins):
        given = In(**{name: getattr(pins, name) for name in FLAGS})
        given.ar, given.aw = NativeRequest(*pins.ar), NativeRequest(*pins.aw)
        given.wdata[:] = pins.wdata.to_bytes(128, "little")
        given.wstrb[:] = pins.wstrb.to_bytes(16, "little")
        self._library.qkloom_sample(self._handle, port, cycle, ctypes.addressof(given))

    def _counters(self, kind, function, n):
        return [native._counters(kind, function, self._handle, number) for number in range(n)]

    def port_counters(self):
        return self._counters(PortCounters, self._library.qkloom_port_counters, len(self._names))

    def channel_counters(self):
        return self._counters(ChannelCounters, self._library.qkloom_dram_counters, N_CHANNELS)

    def found(self):
        array = (native._Violation * 64)()
        n = self._library.qkloom_violations(self._handle, array, 64)
        return [
            AxiViolation(
                f"{self._names[v.stream // len(CHANNELS)]} {CHANNELS[v.stream % len(CHANNELS)]}",
                RULES[v.rule],
                v.cycle,
                v.address,
            )
            for v in array[:n]
        ]

    def close(self):
        self._library.qkloom_delete(self._handle)


class Traffic:
    """A manager that does all kinds of things; the more mischief, the more that break rules."""

    def __init__(self, rng, n_bytes, mischief):
        self._rng, self._bytes, self._mischief = rng, n_bytes, mischief
        self._busy = rng.choice([0.02, 0.3, 1])
        self._offered = {}
        self._writes = []  # beats of each write burst: which of their lanes may be written

    def _request(self):
        rng, top = self._rng, self._bytes.bit_length() - 1
        size = rng.choice([top, top, top, rng.randint(0, top)])
        burst, most = 1, rng.choice([1, 4, 16, 256])
        address = (rng.randrange(N_CHANNELS) << 18) + rng.randrange(STORAGE)
        if rng.random() < 0.7:
            address &= -self._bytes
        room = (4096 - address % 4096 + (1 << size) - 1) >> size
        length = rng.randrange(min(most, room))
        if rng.random() < self._mischief:
            address += rng.choice([STORAGE, 1 << 20, 0])
            length, burst = rng.randrange(256), rng.randrange(3)
            size += rng.choice([0, 0, 1])
        return Request(address, rng.randrange(4), length, size, burst)

    def _lanes(self, request):
        """Return the lanes of each beat of a burst, as bits."""
        size, low = min(1 << request.size, self._bytes), request.address
        for _ in range(request.length + 1):
            high = (low & -size) + size
            begin = low % self._bytes
            yield (1 << begin + high - low) - (1 << begin)
            low = high

    def _beat(self):
        rng, everywhere = self._rng, (1 << self._bytes) - 1
        strobes = rng.choice([everywhere, rng.getrandbits(self._bytes)])
        if rng.random() >= self._mischief:
            strobes &= self._writes[0][0]
        last = (len(self._writes[0]) == 1) ^ (rng.random() < self._mischief / 4)
        return rng.getrandbits(8 * self._bytes), strobes, int(last)

    def offer(self):
        rng, offered = self._rng, self._offered
        for channel in ("ar", "aw", "w"):
            if channel in offered and rng.random() < self._mischief:
                del offered[channel]  # withdrawn, or changed
            if channel not in offered and rng.random() < self._busy:
                if channel != "w":
                    offered[channel] = self._request()
                elif self._writes:
                    offered[channel] = self._beat()
        wdata, wstrb, wlast = offered.get("w", (0, 0, 0))
        return ManagerPins(
            arvalid=int("ar" in offered),
            awvalid=int("aw" in offered),
            wvalid=int("w" in offered),
            rready=int(rng.random() < 0.8),
            bready=int(rng.random() < 0.8),
            ar=offered.get("ar", Request()),
            aw=offered.get("aw", Request()),
            wdata=wdata,
            wstrb=wstrb,
            wlast=wlast,
        )

    def taken(self, pins, given):
        if given.awvalid and pins["awready"]:
            self._writes.append(list(self._lanes(given.aw)))
        for channel in ("ar", "aw", "w"):
            if getattr(given, f"{channel}valid") and pins[f"{channel}ready"]:
                del self._offered[channel]
        if given.wvalid and pins["wready"]:
            del self._writes[0][0]
            if not self._writes[0]:
                del self._writes[0]


def flat(pins):
    mask = (1 << 32) - 1
    values = {name: int(getattr(pins, name)) for name in (*DRIVEN, "rdata")}
    return {**values, "rid": values["rid"] & mask, "bid": values["bid"] & mask}


@pytest.fixture(scope="module")
def library(require):
    require("compiler")
    compiler = find_compiler()

    def build(folder):
        compile_library(folder, compiler, "port.h", [], driver=ALONE, waves=False)

    parts = ["memory alone", compiler.identity, *compiler.flags, *ALONE.contents("port.h")]
    return default_cache().get(parts, build) / LIBRARY


FAULTS = (
    Fault("slverr", "read", beat=40),
    Fault("decerr", "write", port=1, beat=30),
    Fault("slverr", first=0x40000, last=0x40FFF),
    Fault("stall", "read", port=0, beat=700),
    Fault("stall", "write", port=1, beat=500),
)

MODELS = {
    "plain": MemoryModel(**NEAR),
    "narrow": MemoryModel(**NEAR, narrow=(1, 2), narrow_bandwidth=6_000_000_000),
    "slow clock": MemoryModel(**NEAR, clock_hz=175_000_000, latency=20, outstanding=3),
    "fast clock": MemoryModel(**NEAR, clock_hz=450_000_000, refresh_ps=350_000, outstanding=256),
    "stalls": MemoryModel(
        **NEAR, refusals=Stall(0.4, seed=2), gaps=Stall(0.2, burst=5), delays=Stall(0.3), seed=3
    ),
    "bursts": MemoryModel(**NEAR, order="bursts", delays=Stall(0.5), delay_most=300, latency=1),
    "beats": MemoryModel(**NEAR, order="beats", gaps=Stall(0.1), outstanding=100, seed=1),
    "faults": MemoryModel(**NEAR, order="beats", faults=FAULTS),
}


@pytest.mark.parametrize("name", MODELS)
def test_same_answers_in_the_same_cycles(library, name):
    model, rng = MODELS[name], random.Random(name)
    contents = np.random.default_rng(0).integers(0, 256, (N_CHANNELS, STORAGE)).astype(np.uint8)
    here, there = ({n: row.copy() for n, row in enumerate(contents)} for _ in range(2))
    python, cpp = Memory(model, here, PORTS), NativeMemory(library, model, there, PORTS)
    for mischief in (0, 0.05):
        managers = [Traffic(rng, n_bytes, mischief) for n_bytes in PORTS.values()]
        for cycle in range(1500):
            for port, manager in enumerate(managers):
                pins = flat(python.drive(port, cycle))
                assert pins == cpp.drive(port, cycle), f"port {port}, cycle {cycle}"
                given = manager.offer()
                python.sample(port, cycle, given)
                cpp.sample(port, cycle, given)
                manager.taken(pins, given)
        assert python.port_counters() == cpp.port_counters()
        assert python.channel_counters() == cpp.channel_counters()
        assert python.violations.found == cpp.found()
        assert bool(cpp.found()) == (mischief > 0)
        assert all((here[n] == there[n]).all() for n in here)
        assert any((here[n] != contents[n]).any() for n in here)
        assert sum(c.read_beats for c in cpp.port_counters()) > 500
        python.restart()
        cpp.restart()
    cpp.close()
