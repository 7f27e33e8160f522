"""What only a card has. The stand-in for ``pyxrt`` runs the calls of test_device.py too."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from qkloom.platforms.host import (
    Device,
    DeviceError,
    LaunchError,
    LaunchTimeoutError,
    Status,
    attention,
)
from qkloom.platforms.host.xrt import Card
from qkloom.tb.errors import InputError

CALL: dict[str, Any] = dict(
    q=np.ones((1, 9, 8), np.int8),
    k=np.ones((1, 9, 8), np.int8),
    v=np.ones((1, 9, 8), np.int8),
    mantissa=[1],
    shift=[0],
)


class Runs:
    """Runs that answer as told."""

    def __init__(self, *names: str) -> None:
        self.names, self.waited = list(names), 0

    def wait(self, timeout_ms: int) -> Any:
        self.waited += 1
        name = self.names.pop(0) if len(self.names) > 1 else self.names[0]
        return type("State", (), {"name": f"ERT_CMD_STATE_{name}"})


def test_pyxrt_is_missing(xclbin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyxrt", None)
    message = r"^pyxrt cannot be imported \(.*\); it comes with XRT: install that, source its setu"
    with pytest.raises(DeviceError, match=message):
        Device.open("xrt", xclbin)


def test_no_binary(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.xclbin must be an \.xclbin file; link one with `v"
    ):
        Device.open("xrt", tmp_path / "none.xclbin")


def test_no_manifest(tmp_path: Path, folder: Path, pyxrt: ModuleType) -> None:
    binary = tmp_path / "a.xclbin"
    binary.touch()
    with pytest.raises(
        InputError, match=r"a\.xclbin must lie in the folder that `qkloom generate`"
    ):
        Device.open("xrt", binary)
    with Device.open("xrt", binary, folder=folder) as device:
        assert device.name == "xrt host-tiny"


def test_no_card(xclbin: Path, pyxrt: ModuleType) -> None:
    with pytest.raises(
        DeviceError, match=r"^XRT could not open card 1: Could not open device with"
    ):
        Device.open("xrt", xclbin, index=1)


def test_another_kernel(xclbin: Path, pyxrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("No such kernel")

    monkeypatch.setattr(pyxrt, "kernel", refuse)
    with pytest.raises(
        DeviceError, match=r"^XRT could not load .*xclbin: No such kernel; link it f"
    ):
        Device.open("xrt", xclbin)


def test_what_xrt_is_told(xclbin: Path, pyxrt: Any) -> None:
    with Device.open("xrt", xclbin) as device:
        _, status = attention(device, **CALL, timeout=60)
        assert status == Status(None, None)
    assert pyxrt.log[:2] == [("device", 0), ("load",)]
    steps = [entry[0] for entry in pyxrt.log[2:]]
    # q, two parts of k, v, two parts of o, factors; both parts of o come back.
    assert steps[:8] == ["sync"] * 7 + ["start"]
    assert set(steps[8:-2]) == {"wait"}
    assert pyxrt.log[-2:] == [("sync", "FROM_DEVICE", 256)] * 2
    to_device = [entry[1:] for entry in pyxrt.log if entry[0] == "sync"][:7]
    assert to_device == [("TO_DEVICE", n) for n in (128, 64, 64, 128, 256, 256, 8)]


def test_outputs_that_were_not_written_are_seen(
    xclbin: Path, pyxrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyxrt.run, "start", lambda run: None)
    monkeypatch.setattr(
        pyxrt.run, "wait", lambda run, ms: pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
    )
    message = r"^The kernel did not write 72 of 72 outputs; reset"
    with Device.open("xrt", xclbin) as device, pytest.raises(DeviceError, match=message):
        attention(device, **CALL)


def test_xrt_says_that_a_call_failed(xclbin: Path, pyxrt: Any) -> None:
    pyxrt.verdict = "ABORT"
    with Device.open("xrt", xclbin) as device:
        with pytest.raises(LaunchError, match=r"^XRT ended the call with ABORT; see `dmesg`, and "):
            attention(device, **CALL)
        assert device.queued == 0


@pytest.mark.parametrize("state", ["NEW", "QUEUED", "RUNNING", "SUBMITTED", "TIMEOUT"])
def test_states_of_a_call_that_goes_on(xclbin: Path, pyxrt: Any, state: str) -> None:
    card = Card(xclbin)
    run = Runs(state, state, "COMPLETED")
    card._runs.append((run, {}))
    assert card.finish(None) == Status(None, None)
    assert run.waited == 3


def test_time_is_over(xclbin: Path, pyxrt: Any) -> None:
    card = Card(xclbin)
    card._runs.append((Runs("SUBMITTED"), {}))
    assert card.finish(0.002) is None
    assert len(card._runs) == 1


def test_a_call_that_hangs_cannot_be_reset(
    xclbin: Path, pyxrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(xclbin)
    monkeypatch.setattr(card, "finish", lambda timeout: None)
    card._runs.append((Runs("SUBMITTED"), {}))
    with pytest.raises(DeviceError, match=r"^A call does not end, and pyxrt has no means to stop"):
        card.reset()


def test_xrt_raises(xclbin: Path, pyxrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("bad")

    with Device.open("xrt", xclbin) as device:
        buffer = device.allocate(0, 4)
        for name, use, message in (
            (
                "sync",
                lambda: device.write(buffer, np.zeros(4, np.int8)),
                "write a buffer: bad; see",
            ),
            ("sync", lambda: device.read(buffer), "read a buffer: bad; see"),
            ("__init__", lambda: device.allocate(1, 5), "allocate 5 bytes in channel 1: bad; free"),
            ("__init__", lambda: device.part(buffer, 0, 2), "take 2 bytes of a buffer: bad; alloc"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(pyxrt.bo, name, fail)
                with pytest.raises(DeviceError, match=f"^XRT could not {message}"):
                    use()
        monkeypatch.setattr(pyxrt.run, "start", fail)
        with pytest.raises(DeviceError, match=r"^XRT could not start a call: bad; see"):
            attention(device, **CALL)
        assert not device.queued


def test_a_call_after_a_timeout(xclbin: Path, pyxrt: Any) -> None:
    with Device.open("xrt", xclbin) as device:
        with pytest.raises(LaunchTimeoutError):
            attention(device, **CALL, timeout=0)
        output, _ = attention(device, **CALL)
        assert (output == 1 << 16).all()
