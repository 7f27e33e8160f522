"""A generated kernel that simulates fast, and a stand-in for ``pyxrt`` that runs on it."""

import enum
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import qkloom
from qkloom.gen.chip import ChipDescription
from qkloom.platforms.host import Device, LaunchError
from qkloom.platforms.host.sim import Simulated

TIMEOUT_CYCLES = 4096


@pytest.fixture(scope="session")
def generated(require: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what generates a small chip with keys and outputs on two channels."""

    def generate(name: str, *, kernel: dict[str, Any], **changes: Any) -> Path:
        require("compiler")
        chip = qkloom.load(
            {
                "name": name,
                "clock_mhz": 100.0,
                "lanes": [{"matrix": "plain", "n": 1}],
                "size": 4,
                "block": 8,
                "head_dim": 8,
                "tokens": 64,
                "heads": 8,
                "sparse": True,
                "memory": {"channels": 2},
                "softmax": {"p_width": 12, "segments": 8, "fraction": 8},
                **changes,
            }
        )
        described = ChipDescription.kernel_parameters
        channels = (("q", (0,)), ("k", (0, 1)), ("v", (1,)), ("o", (0, 1)))
        more = {"channels": channels, **kernel}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                ChipDescription,
                "kernel_parameters",
                property(lambda self: {**described.fget(self), **more}),
            )
            return chip.generate(tmp_path_factory.mktemp("host") / name)

    return generate


@pytest.fixture(scope="session")
def folder(generated: Any) -> Path:
    """Return a generated folder of a kernel with little patience."""
    return generated("host-tiny", kernel={"timeout": TIMEOUT_CYCLES}, gemm=True)


@pytest.fixture
def pyxrt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put the stand-in where ``pyxrt`` would be, and return it; ``log`` has its calls."""
    module = _stand_in(folder)
    monkeypatch.setitem(sys.modules, "pyxrt", module)
    return module


@pytest.fixture
def xclbin(folder: Path, tmp_path: Path) -> Path:
    """Return an ``.xclbin`` in a folder below a copy of the manifest."""
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    path = tmp_path / "vitis/host_tiny.xclbin"
    path.parent.mkdir()
    path.write_bytes(b"xclbin2")
    return path


@pytest.fixture(params=["sim", "xrt"])
def device(request: pytest.FixtureRequest) -> Any:
    """Give a device on either platform."""
    if request.param == "xrt":
        request.getfixturevalue("pyxrt")
        path = request.getfixturevalue("xclbin")
    else:
        path = request.getfixturevalue("folder")
    with Device.open(request.param, path) as opened:
        yield opened


def _stand_in(folder: Path) -> ModuleType:
    """Return what looks like ``pyxrt`` (XRT Python Bindings), on a simulated card."""
    module: Any = ModuleType("pyxrt")
    module.log = log = []
    module.xclBOSyncDirection = enum.Enum(
        "xclBOSyncDirection", ["XCL_BO_SYNC_BO_TO_DEVICE", "XCL_BO_SYNC_BO_FROM_DEVICE"]
    )
    states = ["NEW", "QUEUED", "COMPLETED", "ERROR", "ABORT", "SUBMITTED", "TIMEOUT"]
    module.ert_cmd_state = enum.Enum("ert_cmd_state", [f"ERT_CMD_STATE_{s}" for s in states])
    module.verdict = "COMPLETED"  # of runs that ended

    class Xclbin:
        def __init__(self, path: str) -> None:
            if not Path(path).exists():
                raise RuntimeError("No such file")

    class Card:
        def __init__(self, index: int) -> None:
            if index:
                raise RuntimeError("Could not open device with index '1'")
            self.simulated = Simulated(folder)
            log.append(("device", index))

        def load_xclbin(self, binary: Xclbin) -> str:
            assert isinstance(binary, Xclbin)
            log.append(("load",))
            return "uuid"

    class Kernel:
        def __init__(self, card: Card, uuid: str, name: str) -> None:
            if name != "host_tiny":
                raise RuntimeError(f"No such kernel '{name}'")
            assert uuid == "uuid"
            self.card, self.arguments = card, card.simulated.kernel.arguments

        def group_id(self, number: int) -> int:
            name = self.arguments[number].name
            where = {"q_0": 0, "k_0": 0, "k_1": 1, "v_0": 1, "o_0": 0, "o_1": 1}
            return 10 + (where | {"factors": 0, "table": 0, "selection": 0})[name]

    class Bo:
        normal = "normal"

        def __init__(self, first: Any, size: int, *others: Any) -> None:
            if isinstance(first, Bo):
                (offset,) = others
                self.card, self.host = first.card, first.host[offset : offset + size]
                self.place = first.card.simulated.part(first.place, offset, size)
            else:
                flags, group = others
                assert flags == Bo.normal
                self.card, self.host = first, np.zeros(size, np.int8)
                self.place = first.simulated.allocate(group - 10, size)

        def write(self, content: Any, seek: int) -> None:
            given = np.frombuffer(content, np.int8)
            self.host[seek : seek + len(given)] = given

        def read(self, size: int, skip: int) -> Any:
            return self.host[skip : skip + size].copy()

        def sync(self, direction: Any, size: int, offset: int) -> None:
            assert offset == 0
            log.append(("sync", direction.name[15:], size))
            simulated = self.card.simulated
            if direction.name.endswith("TO_DEVICE"):
                simulated.write(self.place, self.host[:size].view(np.uint8))
            else:
                self.host[:size] = simulated.read(self.place, size).view(np.int8)

    class Run:
        def __init__(self, kernel: Kernel) -> None:
            self.kernel, self.values = kernel, {}

        def set_arg(self, number: int, value: Any) -> None:
            register = self.kernel.arguments[number]
            if register.width == 64:
                assert isinstance(value, Bo)
                self.values[register.name] = value.place
            else:
                assert type(value) is int and -(1 << 31) <= value < 1 << 31
                self.values[register.name] = value

        def start(self) -> None:
            log.append(("start",))
            self.kernel.card.simulated.start(self.values)

        def wait(self, timeout_ms: int) -> Any:
            assert timeout_ms > 0
            log.append(("wait", timeout_ms))
            verdict = module.verdict
            try:
                if self.kernel.card.simulated.finish(timeout_ms / 1000) is None:
                    verdict = "TIMEOUT"
            except LaunchError:
                pass  # XRT does not hear of it
            return module.ert_cmd_state[f"ERT_CMD_STATE_{verdict}"]

    module.xclbin, module.device, module.kernel = Xclbin, Card, Kernel
    module.bo, module.run = Bo, Run
    return module
