"""Proofs that a mutant is the same hardware: no testbench could ever notice it.

Both designs, the gold and the gate, are cut at their registers, which leaves a function from inputs
and state to outputs and next state. Of each register it is believed that it is equal in both. Then
a run of one, two or three cycles is asked for, in which all that is believed is so, but in the end
an output or a believed register differs. A register that does so is believed of no longer, and
may be anything in each design by itself when a run begins; and all is asked again. When there is
no such run any more, nor one of fewer cycles from any state that is equal in both, the designs are
equal for ever.

Before all that, whatever nothing depends on is removed: a mutant that goes with it, such as one of
a bit that a unit passes on and nobody reads, is the same hardware. Large designs get no more than
that.
"""

import itertools
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from qkloom.tb.errors import ToolError

from .mutants import CONTROL, WIDTH, Mutant, Mutated, run_yosys

__all__ = ["is_equivalent", "prove_claims"]

LONGEST_RUN = 3

MOST_REGISTERS = 8000
"""Bits of state, beyond which only unused bits are found."""

FLATTEN = """
    hierarchy -top {top}
    proc
    flatten
    memory_map
    opt_clean
    chformal -lower
    dffunmap
    opt_clean
    splitcells t:$dff
    opt_clean
    write_rtlil flat.il
"""

REMOVE_UNUSED = """
    splitcells
    opt_clean
    splitcells
    opt_clean
    write_rtlil used.il
"""

COMPARE = """
    read_rtlil chain.il
    hierarchy -top chain
    flatten
    opt -full
    sat -set-assumes -prove all 1 -show-outputs -timeout {seconds} chain
"""

PROVEN = "no model found: SUCCESS!"

CELL = r"(?:^  attribute [^\n]*\n)*^  cell \{} (\S+)\n(.*?)^  end\n"


def prove_claims(mutated: Mutated, claims: Mapping[str, str], promises: Mapping[str, str]) -> None:
    """Prove by induction what a unit claims of its inside, given what its users promise.

    Raises
    ------
    ToolError
        When a claim is false, or not inductive.
    """
    if not claims:
        return
    top = mutated.design.name
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), mutated, claims, promises)
        printed = run_yosys(
            Path(name),
            "read_verilog -sv -formal claims.sv",
            "read_rtlil base.il",
            *FLATTEN.format(top=top).split("\n"),
            "sat -tempinduct -prove-asserts -set-assumes -maxsteps 4",
        )
    if "Induction step proven: SUCCESS!" not in printed:
        raise ToolError(f"A claim about {top} is false or not inductive: {dict(claims)}")


def is_equivalent(
    mutated: Mutated,
    mutant: Mutant,
    claims: Mapping[str, str],
    promises: Mapping[str, str],
    *,
    seconds: int = 10,
) -> bool:
    """Tell whether a mutant is proven to be the same hardware to users who keep their promises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, mutated, claims, promises)
        try:
            run_yosys(
                folder,
                "read_verilog -sv -formal claims.sv",
                "read_rtlil base.il",
                f"mutate -ctrl {CONTROL} {WIDTH} 0 -mode none -module {mutated.design.name}",
                f"mutate -ctrl {CONTROL} {WIDTH} 1 {mutant.options}",
                *FLATTEN.format(top=mutated.design.name).split("\n"),
                *REMOVE_UNUSED.split("\n"),
            )
            # Lines of cells are indented; others only name wires.
            used = (folder / "used.il").read_text()
            if not re.search(rf"^    connect \S+ .*\b{CONTROL}\b", used, re.MULTILINE):
                return True
            halves = _Halves(folder, (folder / "flat.il").read_text(), seconds)
            return halves.n_registers <= MOST_REGISTERS and any(
                halves.agree(cycles) for cycles in range(1, LONGEST_RUN + 1)
            )
        except ToolError:  # too large
            return False


class _Halves:
    """The gold and the gate as functions without registers, side by side."""

    def __init__(self, folder: Path, flat: str, seconds: int) -> None:
        self._folder, self._seconds = folder, seconds
        self._text = _cut(flat, "gold", 0) + _cut(flat, "gate", 1)
        gold = self._text[: self._text.index("\nend\n")]
        found = re.findall(
            r"^  wire (?:width (\d+) )?(input|output) \d+ (?:signed )?\\(\S+)$", gold, re.MULTILINE
        )
        self._widths = {name: int(width or 1) for width, _, name in found}
        registers = {name for name in self._widths if re.fullmatch(r"[dq]_\d+", name)}
        self._inputs = [x for _, way, x in found if way == "input" and x not in registers]
        self._outputs = [x for _, way, x in found if way == "output" and x not in registers]
        self._states = [int(name[2:]) for name in self._widths if re.fullmatch(r"q_\d+", name)]

    @property
    def n_registers(self) -> int:
        """Bits of state."""
        return sum(self._widths[f"q_{n}"] for n in self._states)

    def agree(self, cycles: int) -> bool:
        """Tell whether beliefs are found from which equal outputs follow, in runs so long."""
        believed = set(self._states)
        while differing := self._differing(cycles, believed):
            if not differing <= {f"d_{n}" for n in believed}:
                return False
            believed -= {int(name[2:]) for name in differing}
        return not any(self._differing(1 + n, believed, after_reset=True) for n in range(1, cycles))

    def _differing(self, cycles: int, believed: set[int], *, after_reset: bool = False) -> set[str]:
        """Return outputs and believed registers that differ in a run, at its end; or nothing.

        A run after a reset begins with it, and with equal states.
        """
        free = set() if after_reset else set(self._states) - believed
        lines: list[str] = []
        number = itertools.count(1)

        def wire(name: str, width: int, way: str = "") -> str:
            port = f"{way} {next(number)} " if way else ""
            lines.append(f"  wire width {width} {port}\\{name}")
            return f"\\{name}"

        state: dict[tuple[str, int], str] = {}
        for n in self._states:
            width = self._widths[f"q_{n}"]
            gold = wire(f"q_{n}", width, "input")
            gate = wire(f"free_q_{n}", width, "input") if n in free else gold
            state["gold", n], state["gate", n] = gold, gate
        ends: dict[tuple[str, str], str] = {}
        for cycle in range(cycles):
            inputs = {x: wire(f"{x}_{cycle}", self._widths[x], "input") for x in self._inputs}
            if after_reset and cycle == 0:
                inputs["rst"] = "1'1"
            for half in ("gold", "gate"):
                links = inputs | {f"q_{n}": state[half, n] for n in self._states}
                for x in [*self._outputs, *(f"d_{n}" for n in self._states)]:
                    links[x] = ends[half, x] = wire(f"{half}_{x}_{cycle}", self._widths[x])
                lines.append(f"  cell \\{half} \\{half}_{cycle}")
                lines += [f"    connect \\{port} {signal}" for port, signal in links.items()]
                lines.append("  end")
            for half, n in state:
                state[half, n] = ends["gold" if n in believed else half, f"d_{n}"]
        goals = [*self._outputs, *(f"d_{n}" for n in sorted(believed))]
        same = []
        for x in goals:
            same.append(wire(f"same_{x}", 1, "output"))
            lines += _cell(
                "eq", f"eq_{x}", self._widths[x], ends["gold", x], ends["gate", x], same[-1]
            )
        everything = f"{{ {' '.join(same)} }}"
        lines += _cell("reduce_and", "every", len(same), everything, None, wire("all", 1, "output"))
        text = "\n".join(["module \\chain", *lines, "end", ""])
        (self._folder / "chain.il").write_text(self._text + text)
        commands = COMPARE.format(seconds=self._seconds).split("\n")
        printed = run_yosys(self._folder, *commands, timeout=6 * self._seconds)
        if PROVEN in printed:
            return set()
        return set(re.findall(r"^ +\\same_(\S+) +0 ", printed, re.MULTILINE)) or {"no answer"}


def _cell(kind: str, name: str, width: int, a: str, b: str | None, y: str) -> list[str]:
    second = "" if b is None else f" parameter \\B_SIGNED 0\n parameter \\B_WIDTH {width}\n"
    second += "" if b is None else f" connect \\B {b}\n"
    return [
        (
            f" cell ${kind} \\{name}\n parameter \\A_SIGNED 0\n parameter \\A_WIDTH {width}\n"
            f" parameter \\Y_WIDTH 1\n connect \\A {a}\n{second} connect \\Y {y}\n end"
        )
    ]


def _cut(flat: str, name: str, control: int) -> str:
    """Return the module as ``name``, mutated or not, its registers replaced by ports."""
    ports: list[str] = []

    def replace(match: re.Match[str]) -> str:
        width = re.search(r"parameter \\WIDTH (\d+)", match[2])
        d = re.search(r"connect \\D (.*)", match[2])
        q = re.search(r"connect \\Q (.*)", match[2])
        assert width is not None and d is not None and q is not None
        n = len(ports)
        ports.append(
            f"  wire width {width[1]} input {1000 + 2 * n} \\q_{n}\n"
            f"  wire width {width[1]} output {1001 + 2 * n} \\d_{n}\n"
        )
        return f"  connect {q[1]} \\q_{n}\n  connect \\d_{n} {d[1]}\n"

    body = re.sub(r"^module \S+$", rf"module \\{name}", flat, count=1, flags=re.MULTILINE)
    body = re.sub(CELL.format("$dff"), replace, body, flags=re.MULTILINE | re.DOTALL)
    # Claims and promises are about the design as it was.
    assumed = "" if control else r"  cell $assume \1\n\2  end\n"
    body = re.sub(CELL.format("$ass(?:ert|ume)"), assumed, body, flags=re.MULTILINE | re.DOTALL)
    chosen = (
        f"  wire width {WIDTH} \\{CONTROL}\n  connect \\{CONTROL} {WIDTH}'{control:0{WIDTH}b}\n"
    )
    port = rf"^  wire width {WIDTH} input \d+ \\{CONTROL}\n"
    return re.sub(port, lambda _: "".join(ports) + chosen, body, flags=re.MULTILINE)


def _write(
    folder: Path, mutated: Mutated, claims: Mapping[str, str], promises: Mapping[str, str]
) -> None:
    """Write the design, with claims and promises as instances of Verilog modules."""
    text, verilog = mutated.base, ""
    named = [("assert", *item) for item in claims.items()]
    named += [("assume", *item) for item in promises.items()]
    for number, (what, beginning, said) in enumerate(named):
        pattern = rf"^module \\{beginning}\S*$.*?^end$"
        found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ToolError(f"{mutated.design.name} has no module {beginning}")
        wires = {
            name: int(width or 1)
            for width, name in re.findall(
                r"^  wire (?:width (\d+) )?(?:.* )?\\(\w+)$", found[0], re.MULTILINE
            )
        }
        used = [name for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", said)) if name in wires]
        if not used:
            raise ToolError(f"No wire of {beginning} is in {said!r}")
        # A wire may be called like a word of Verilog.
        said = re.sub(rf"\b({'|'.join(used)})\b", r"\\\1 ", said)
        links = "".join(f"    connect \\{name} \\{name}\n" for name in used)
        cell = f"  cell \\said_{number} \\said_{number}\n{links}  end\nend"
        text = text.replace(found[0], found[0].removesuffix("end") + cell)
        ports = ", ".join(f"input [{wires[name] - 1}:0] \\{name} " for name in used)
        verilog += f"module said_{number}({ports}); always @* {what} ({said}); endmodule\n"
    (folder / "base.il").write_text(text)
    (folder / "claims.sv").write_text(verilog)
