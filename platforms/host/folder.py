"""What a generated folder says of a kernel: its parameters, and the hardware to simulate."""

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ...rtl.component import pass_over
from ...rtl.kernel.kernel import Kernel
from ...tb.design import Design, Port
from ...tb.errors import InputError

__all__ = ["MANIFEST", "KernelFolder", "read_folder"]

MANIFEST = "manifest.json"

_AGAIN = "generate the chip again with `qkloom generate`"


@dataclass(frozen=True)
class KernelFolder:
    """A folder that ``qkloom generate`` wrote for a chip.

    Members
    -------
    path : Path
        The folder.
    name, top : str
        Of the chip, and of its top module.
    kernel : Kernel
        The chip's kernel, made from the parameters in the manifest.
    clock_hz : int
        Clock that the chip is described for.
    n_channels : int
        Memory channels of the card.
    """

    path: Path
    name: str
    top: str
    kernel: Kernel
    clock_hz: int
    n_channels: int
    _manifest: dict[str, Any]

    def design(self, *, verilog: bool = False) -> Design:
        """Return the hardware as the files of the folder have it; nothing is emitted.

        Parameters
        ----------
        verilog : bool
            Whether the Verilog is needed too.

        Raises
        ------
        InputError
            When a file is missing, or is no longer what was generated.
        """
        rtlil = self._text(f"sim/{self.name}.il")
        digest = hashlib.sha256(rtlil.encode()).hexdigest()
        if digest != self._manifest["rtlil_sha256"]:
            raise InputError(f"{self.path} holds RTLIL that its {MANIFEST} is not of; {_AGAIN}")
        ports = json.loads(self._text("sim/ports.json"))
        models = "sim/primitives.v"
        has_models = verilog and models in self._manifest["files"]
        return Design(
            name=self.top,
            component=self.kernel,
            rtlil=rtlil,
            verilog=self._text(f"{self.name}.v") if verilog else None,
            ports=tuple(Port(**port) for port in ports["ports"]),
            boundaries=tuple(ports["boundaries"]),
            digest=digest,
            primitives=self._text(models) if has_models else "",
        )

    def _text(self, path: str) -> str:
        try:
            content = (self.path / path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.path} must hold {path}: {error.strerror or error}; {_AGAIN}"
            ) from error
        if hashlib.sha256(content).hexdigest() != self._manifest["files"].get(path):
            raise InputError(
                f"{self.path / path} must be as it was generated, and was changed since; {_AGAIN}"
            )
        return content.decode()


def read_folder(path: str | Path) -> KernelFolder:
    """Read the manifest of a generated folder.

    Raises
    ------
    InputError
        When the folder is not ours, not of a chip, or of a version that had other kernels.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"A folder must be named by a path, not {path!r}")
    folder = Path(path)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("generator") != "qkloom":
        raise InputError(
            f"{folder} must be a folder that qkloom generated, and has no {MANIFEST} of ours; "
            "name the folder that `qkloom generate CHIP -o` wrote"
        )
    if "unit" in manifest:
        raise InputError(
            f"{folder} must be of a chip, and is of the unit {manifest['unit']}, which has no host;"
            " generate a chip"
        )
    made, here = (manifest.get("versions") or {}).get("qkloom", "0"), metadata.version("qkloom")
    if _series(made) != _series(here) or "kernel" not in manifest:
        raise InputError(
            f"{folder} must be of the qkloom that drives it, {here}, and is of {made}; "
            "generate it again, or install that version"
        )
    try:
        kernel = Kernel(**{k: _immutable(v) for k, v in manifest["kernel"].items()})
        pass_over(kernel)  # its ports and registers are asked for, its hardware is in the folder
        return KernelFolder(
            path=folder,
            name=manifest["chip"],
            top=manifest["top"],
            kernel=kernel,
            clock_hz=round(manifest["parameters"]["clock_mhz"] * 1e6),
            n_channels=manifest["parameters"]["memory"]["channels"],
            _manifest=manifest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MANIFEST} must describe a kernel, and does not: {error}; {_AGAIN}"
        ) from error


def _series(version: str) -> list[str]:
    """Return what of a version says whether kernels are driven alike: its first two numbers."""
    return version.split(".")[:2]


def _immutable(value: Any) -> Any:
    """Return a parameter as a component takes it: JSON has lists where these were tuples."""
    return tuple(map(_immutable, value)) if isinstance(value, list) else value
