"""The C++ compiler of compiled simulations."""

import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError

__all__ = ["Compiler", "chosen_compiler", "find_compiler"]

# A build that takes longer than this is stuck: a full 32x32 lane takes seconds, zig's first one a
# minute or two.
TIMEOUT_SECONDS = 1800

REMEDY = "install clang or g++, set CXX, or `python -m pip install ziglang`"

# The standard of the cxxrtl runtime. No asserts, and no warnings about generated code.
FLAGS = ("-std=c++17", "-fPIC", "-w", "-DNDEBUG")

# What a compiler must be able to compile to be one: its own headers are there.
PROBE = "#include <cstdint>\nstd::uint32_t qkloom;\n"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler.

    Members
    -------
    name : str
        ``clang``, ``gcc`` or ``zig``.
    command : tuple of str
        How it is called.
    identity : str
        Everything about it that a compiled file depends on.
    """

    name: str
    command: tuple[str, ...]
    identity: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of every build, for code that runs on any processor of this machine's family.

        Generated code is straight-line arithmetic on 32-bit words. Newer instructions do not make
        it faster. g++ makes it slower at -O2 than at -O1: its vectors cost more to put together
        than they save.
        """
        if self.name == "gcc":
            return (*FLAGS, "-O1")
        if self.name == "zig":
            # Unlike the others, it compiles for this very processor unless told otherwise.
            return (*FLAGS, "-O2", "-mcpu=baseline")
        return (*FLAGS, "-O2")

    @property
    def title(self) -> str:
        """What a user calls it."""
        if self.name == "zig":
            return "zig (the first time takes a minute or two)"
        return Path(self.command[0]).name

    def run(self, arguments: Sequence[str], *, makes: str, cwd: Path) -> None:
        """Call the compiler in a folder.

        Parameters
        ----------
        arguments : sequence of str
            Sources and flags.
        makes : str
            Name of the file to make.
        cwd : Path
            The folder.

        Raises
        ------
        ToolError
            When it fails, and the message has its first error, or when it makes no such file.
        """
        # zig's cache takes equal command lines for equal results, even where an included file is
        # another folder's of the same name. A word for this folder makes the command line its own.
        own = [f"-DQKLOOM_FOLDER={_word(cwd)}"] if self.name == "zig" else []
        command = [*self.command, *self.flags, *own, *arguments, "-o", makes]
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
            )
        except OSError as error:
            raise ToolError(f"Cannot start {self.command[0]}: {error}; {REMEDY}") from None
        except subprocess.TimeoutExpired:
            raise ToolError(f"{self.name} did not finish in {TIMEOUT_SECONDS} s") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if "error" in line.lower()]
            reason = (errors or lines or [f"exit code {done.returncode}"])[0]
            raise ToolError(
                f"{self.name} ({shlex.join(self.command)}) cannot compile the simulator: {reason}; "
                f"try another compiler: {REMEDY}"
            )
        if not (cwd / makes).is_file():
            raise ToolError(
                f"{self.name} ({shlex.join(self.command)}) reported success and compiled nothing; "
                f"try another compiler: {REMEDY}"
            )


def _word(folder: Path) -> str:
    """Return a word that stands for a folder."""
    return "f" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def chosen_compiler() -> tuple[str, ...]:
    """Return the command in ``$CXX``, empty when it is not set.

    Raises
    ------
    ToolError
        When it is no command.
    """
    text = os.environ.get("CXX", "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ToolError(f"CXX must be a command, not {text}: {error}; {REMEDY}") from None


def find_compiler() -> Compiler:
    """Return the compiler to use: ``$CXX``, or the first of clang++, g++ and zig that works.

    Raises
    ------
    ToolError
        When there is none.
    """
    if chosen := chosen_compiler():
        if shutil.which(chosen[0]) is None:
            raise ToolError(
                f"CXX names a compiler that is not there: {shlex.join(chosen)}; {REMEDY}"
            )
        # It runs in other folders, where a relative path leads nowhere.
        program = str(Path(chosen[0]).absolute()) if os.sep in chosen[0] else chosen[0]
        return _probe((program, *chosen[1:]))
    commands: list[tuple[str, ...]]
    commands = [(path,) for name in ("clang++", "g++") if (path := shutil.which(name))]
    spec = importlib.util.find_spec("ziglang")
    if spec is not None and spec.origin is not None:
        commands.append((sys.executable, "-P", "-m", "ziglang", "c++"))
    errors = []
    for command in commands:
        try:
            return _probe(command)
        except ToolError as error:  # installed without its headers, for example
            errors.append(error)
    raise errors[0] if errors else ToolError(f"No C++ compiler was found: {REMEDY}")


@functools.cache
def _probe(command: tuple[str, ...]) -> Compiler:
    """Ask a compiler who it is, and see it compile a line."""
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, errors="replace", timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"Cannot start {shlex.join(command)}: {error}; {REMEDY}") from None
    if done.returncode or not done.stdout:
        raise ToolError(f"{shlex.join(command)} is no C++ compiler; {REMEDY}")
    lines = done.stdout.splitlines()
    text = "\n".join(line for line in lines if not line.startswith("InstalledDir"))
    if "ziglang" in command or "zig" in Path(command[0]).name:
        name = "zig"
    else:
        name = "clang" if "clang" in text else "gcc"
    found = Compiler(name, command, f"{platform.system()} {platform.machine()} {name} {text}")
    with tempfile.TemporaryDirectory(prefix="qkloom-") as folder:
        Path(folder, "probe.cc").write_text(PROBE, encoding="utf-8")
        found.run(["-c", "probe.cc"], makes="probe.o", cwd=Path(folder))
    return found
