"""What only a simulation has: faults of memory, guards, cycles, engines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkloom.platforms.host import PAGE, Device, LaunchError, attention, kernel_numerics
from qkloom.platforms.host.folder import read_folder
from qkloom.platforms.host.sim import Simulated
from qkloom.rtl.kernel.code import Code
from qkloom.tb.engines.cache import Cache
from qkloom.tb.errors import InputError
from qkloom.tb.exact import exact_attention
from qkloom.tb.kernel import start_kernel
from qkloom.tb.memory.parameters import Fault, MemoryModel
from qkloom.tb.quantize import Operands, quantize
from qkloom.tb.stalls import Stall

STORAGE = 1 << 18


def operands(device: Device) -> Operands:
    rng = np.random.default_rng(3)
    tensors = (rng.standard_normal((2, 19, 8)) for _ in range(3))
    return quantize(*tensors, kernel_numerics(device.kernel))


def run(device: Device, given: Operands, **options: Any) -> Any:
    return attention(
        device, given.q, given.k, given.v, given.mantissa, given.shift, causal=True, **options
    )


def expected(device: Device, given: Operands) -> Any:
    numerics = kernel_numerics(device.kernel)
    tensors = given.q, given.k, given.v, given.mantissa, given.shift
    return exact_attention(*tensors, numerics, block_rows=8, causal=True)


@pytest.fixture
def opened(folder: Path) -> Any:
    """Give a device and its backend, to look behind the device."""
    backend = Simulated(folder, channel_bytes=STORAGE)
    with Device(backend, backend.kernel, backend.name) as device:
        yield device, backend


def test_nothing_but_outputs_is_written(opened: tuple[Device, Simulated]) -> None:
    device, backend = opened
    given = operands(device)
    memory = backend.simulation.memory
    for channel in memory.values():
        channel[:] = 0xA5
    written: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    keep = backend.write
    backend.write = lambda place, content: (  # type: ignore[method-assign]
        written[place.channel].append((place.offset, len(content))),
        keep(place, content),
    )[1]
    output, _ = run(device, given)
    np.testing.assert_array_equal(output, expected(device, given))
    for number, channel in memory.items():
        outside = np.ones(STORAGE, np.bool_)
        for offset, size in written[number]:
            assert offset >= PAGE
            outside[offset : offset + size] = False
        assert (channel[outside] == 0xA5).all()


def test_cycles_are_of_one_call_each(opened: tuple[Device, Simulated]) -> None:
    device, _ = opened
    given = operands(device)
    statuses = [run(device, given)[1] for _ in range(2)]
    assert statuses[0].code is Code.OK
    assert 500 < statuses[0].cycles < 5000
    assert abs(statuses[0].cycles - statuses[1].cycles) < 100


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("slverr", "read", beat=9), Code.SLVERR),
        (Fault("decerr", "write", beat=5), Code.DECERR),
        (Fault("stall", "read", port=0, beat=30), Code.TIMEOUT),
    ],
)
def test_faults_of_memory(opened: tuple[Device, Simulated], fault: Fault, code: Code) -> None:
    device, backend = opened
    given = operands(device)
    backend.simulation.set_faults([fault])
    with pytest.raises(
        LaunchError,
        match=rf"^The kernel ended the call with code {code.value}, {code.name}: .*; .*reset",
    ) as info:
        run(device, given)
    assert info.value.code == code
    assert not device.queued
    device.reset()
    backend.simulation.set_faults([])
    for _ in range(2):
        np.testing.assert_array_equal(run(device, given)[0], expected(device, given))


def test_memory_of_another_kind(folder: Path) -> None:
    stall = Stall(0.5, seed=4)
    model = MemoryModel(n_channels=2, order="bursts", refusals=stall, gaps=stall)
    with Device.open("sim", folder, model=model) as device:
        given = operands(device)
        np.testing.assert_array_equal(run(device, given)[0], expected(device, given))


@pytest.mark.parametrize("engine", ["cxxrtl", "verilator", "pysim"])
def test_engine_gets_what_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str
) -> None:
    found: list[Any] = []

    def start(*arguments: Any, **options: Any) -> Any:
        found.extend((arguments, options))
        return start_kernel(sim_design, arguments[1])

    sim_design = read_folder(folder).design()
    monkeypatch.setattr("qkloom.platforms.host.sim.start_kernel", start)
    cache = Cache(tmp_path / "cache")
    Device.open("sim", folder, engine=engine, cache=cache, channel_bytes=1 << 16).close()
    (design, model, given), options = found
    assert given == engine
    assert (design.verilog is not None) == (engine == "verilator")
    assert (model.clock_hz, model.n_channels) == (100_000_000, 2)
    assert model.storage_bytes == 1 << 16
    assert options == {"waves": None, "cache": cache}


def test_waves(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a file that can be written"):
        Device.open("sim", folder, waves=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "spice"}, r"^An engine must be one of pysim, cxxrtl, verilator, not 'spice'$"),
        (
            {"channel_bytes": 5000},
            r"^channel_bytes must be a multiple of 4096 up to 268,435,456, n",
        ),
        (
            {"channel_bytes": "4096"},
            r"^channel_bytes must be a multiple of 4096 up to .*, not '4096'",
        ),
    ],
)
def test_options(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Device.open("sim", folder, **options)


def test_registers_of_another_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkloom.platforms.host.sim.VERSION", 0x20000)
    message = r"must have registers of version 0x20000, and has 0x10000; generate it again$"
    with pytest.raises(InputError, match=message):
        Device.open("sim", folder)
