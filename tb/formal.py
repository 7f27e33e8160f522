"""Formal proofs of small components: claims of an Amaranth wrapper, proven for ever by induction.

A wrapper is a component around the one to prove; the ports that the surroundings drive are the
wrapper's inputs, free to do anything. It says what it takes for granted with ``Assume`` and what
must follow with ``Assert``. Released hardware holds neither.
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Assert, Module, Signal, Value

from .design import Design
from .errors import ToolError
from .yosys import find_full_yosys

__all__ = ["Followed", "ProofError", "follow", "obey", "prove", "prove_run", "witness"]

TIMEOUT_SECONDS = 600

PREPARE = """
    {models}
    read_rtlil design.il
    hierarchy -check -top {top}
    proc
    flatten
    memory_collect
    memory_map
    cd {top}
    {peeks}
    cd ..
    chformal -lower
    async2sync
    dffunmap
    opt_clean
"""


class ProofError(AssertionError):
    """A claim that is false, or that the asked depth cannot prove; the message shows a run."""


def prove(
    design: Design,
    *,
    depth: int,
    peek: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> None:
    """Prove that no ``Assert`` of a design ever fails as long as every ``Assume`` holds.

    By induction over runs of 1, 2, ... ``depth`` cycles: claims that hold for so many cycles from
    reset, and that follow for the cycle after any so many different states, hold for ever.

    Parameters
    ----------
    design : Design
        The emitted wrapper.
    depth : int
        Longest run to try. When it is not enough, the wrapper has to claim more of the inner
        state.
    peek : mapping, optional
        Inputs of the wrapper that are not free but show an inner signal: name of the input, and
        path of the signal as in ``dut.storage[0]``.
    models : mapping, optional
        Verilog of the primitives that the design is made of, by name.

    Raises
    ------
    ProofError
        When a claim fails in a run from reset, or is not proven at ``depth``.
    ToolError
        When Yosys is missing or cannot read the design.
    """
    printed = _run(
        design,
        f"sat -tempinduct -prove-asserts -set-assumes -show-public -maxsteps {depth}",
        peek or {},
        models or {},
    )
    if "Induction step proven: SUCCESS!" in printed:
        return
    if "model found for base case: FAIL!" in printed:
        raise ProofError(f"{design.name} breaks a claim in this run:\n{_last_run(printed)}")
    if "Reached maximum number of time steps" in printed:
        raise ProofError(
            f"{design.name} is not proven at depth {depth}: its claims hold from reset, but allow "
            f"this run to a state where one fails:\n{_last_run(printed)}"
        )
    raise ToolError(f"Yosys gave no verdict on {design.name}: {printed[-500:]}")


def prove_run(design: Design, *, depth: int, peek: Mapping[str, str] | None = None) -> None:
    """Prove that no ``Assert`` fails in the first ``depth`` cycles, every ``Assume`` kept.

    It is for what takes its time and then is done: nothing has to be claimed of states that no run
    comes to, but nothing is said of the cycles after.

    Parameters
    ----------
    design, peek
        As of :func:`prove`.
    depth : int
        Cycles from reset, its state included.

    Raises
    ------
    ProofError
        When a claim fails in such a run.
    ToolError
        When Yosys is missing or cannot read the design, or does not get so far.
    """
    printed = _run(
        design,
        "sat -tempinduct -tempinduct-baseonly -prove-asserts -set-assumes -show-public "
        f"-maxsteps {depth}",
        peek or {},
        {},
    )
    if "model found for base case: FAIL!" in printed:
        raise ProofError(f"{design.name} breaks a claim in this run:\n{_last_run(printed)}")
    if f"[base case {depth}]" not in printed:
        raise ToolError(f"Yosys gave no verdict on {design.name}: {printed[-500:]}")


def witness(design: Design, port: str, *, depth: int) -> int:
    """Find the shortest run from reset that makes the output ``port`` 1, every ``Assume`` kept.

    It shows that the assumptions of a proof leave the interesting runs in.

    Returns
    -------
    int
        Cycles of the run, reset state included.

    Raises
    ------
    ProofError
        When there is no such run of ``depth`` cycles.
    ToolError
        When Yosys is missing or cannot read the design.
    """
    printed = _run(
        design,
        f"sat -tempinduct -tempinduct-baseonly -prove {port} 0 -set-assumes -maxsteps {depth}",
        {},
        {},
    )
    lengths = re.findall(r"^\[base case (\d+)\]", printed, re.MULTILINE)
    if "model found for base case: FAIL!" in printed:
        return int(lengths[-1])
    if lengths:
        raise ProofError(f"{design.name} has no run of {depth} cycles that sets {port}")
    raise ToolError(f"Yosys gave no verdict on {design.name}: {printed[-500:]}")


def obey(m: Module, claim: Callable[[Value], Any], stream: Any, name: str) -> None:
    """Say that a valid item of ``stream`` stays, unchanged, until it is taken.

    Parameters
    ----------
    claim : ``Assume`` or ``Assert``
        Whether the wrapper drives the stream or the component.
    name : str
        Prefix of the added signals; names the stream in a printed run.
    """
    waiting = Signal(name=f"{name}_waiting")
    item = Signal(len(Value.cast(stream.payload)), name=f"{name}_item")
    m.d.sync += [waiting.eq(stream.valid & ~stream.ready), item.eq(stream.payload)]
    with m.If(waiting):
        m.d.comb += claim(stream.valid & (Value.cast(stream.payload).as_unsigned() == item))


@dataclass(frozen=True)
class Followed:
    """What :func:`follow` knows of the items inside.

    Members
    -------
    inside : Signal
        Items that went in and did not come out.
    active : Signal
        Whether one of them is being followed.
    ahead : Signal
        Items that come out before it.
    item : Signal
        Its bits.
    """

    inside: Signal
    active: Signal
    ahead: Signal
    item: Signal


def follow(m: Module, i: Any, o: Any, *, pick: Value, most: int) -> Followed:
    """Claim that the n-th item in is the n-th item out, and that at most ``most`` are inside.

    One arbitrary item is followed, from a transfer at ``i`` in which the free input ``pick`` is 1.
    What holds for it holds for all: none is lost, doubled, changed or overtaken.
    """
    inside = Signal(range(most + 1))
    ahead = Signal(range(most + 1))
    active = Signal()
    item = Signal(len(Value.cast(i.payload)))
    write = Signal()
    read = Signal()
    through = Signal()
    m.d.comb += [
        write.eq(i.valid & i.ready),
        read.eq(o.valid & o.ready),
        through.eq(write & read & (inside == 0)),
        Assert(inside <= most),
    ]
    payload_in, payload_out = (Value.cast(s.payload).as_unsigned() for s in (i, o))
    m.d.sync += inside.eq(inside + write - read)
    with m.If(write & (inside == most)):
        m.d.comb += Assert(read)
    with m.If(read & (inside == 0)):
        m.d.comb += Assert(write)
    with m.If(through):
        m.d.comb += Assert(payload_in == payload_out)
    with m.Elif(active):
        m.d.comb += Assert(ahead < inside)
        with m.If(read):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(payload_out == item)
                m.d.sync += active.eq(0)
    with m.Elif(write & pick):
        m.d.sync += [active.eq(1), item.eq(payload_in), ahead.eq(inside - read)]
    return Followed(inside, active, ahead, item)


def _run(design: Design, goal: str, peek: Mapping[str, str], models: Mapping[str, str]) -> str:
    """Prepare the design, run one ``sat`` command and return what Yosys prints."""
    peeks = "\n".join(
        f"delete -input w:{port}\nconnect -nomap -nounset -set {port} {path}"
        for port, path in peek.items()
    )
    reads = "\n".join(f"read_verilog {name}.v" for name in models)
    script = PREPARE.format(top=design.name, peeks=peeks, models=reads) + goal
    yosys = find_full_yosys()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "design.il").write_text(design.rtlil)
        for name, text in models.items():
            (folder / f"{name}.v").write_text(text)
        commands = [line.strip() for line in script.splitlines()]
        title = f"The proof of {design.name}"
        return yosys.run(commands, cwd=folder, timeout=TIMEOUT_SECONDS, title=title)


def _last_run(printed: str) -> str:
    """Return the run that Yosys printed last: a row per public signal, a column per cycle."""
    rows: dict[str, list[str]] = {}
    table = printed[printed.rindex("  Time Signal Name") :]
    for name, bits in re.findall(r"^ +\d+ \\(\S+) .* ([01x]+)$", table, re.MULTILINE):
        if "$" not in name and not name.endswith("clk"):
            rows.setdefault(name, []).append(f"{int(bits, 2):x}" if bits.isdigit() else "x")
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}} {' '.join(values)}" for name, values in rows.items())
