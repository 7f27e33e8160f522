"""Self-checking SystemVerilog testbenches: words for every stream, and what must come back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...tb.design import Design
from ...tb.packing import Words
from ...tb.tensors import InputError

__all__ = ["Answers", "Expected", "Sent", "Vectors", "bench_files", "integers"]

STREAMS = Path(__file__).parents[1] / "sv" / "streams.sv"


@dataclass(frozen=True)
class Sent:
    """Words that go into a design.

    Members
    -------
    words : sequence of int
        In order.
    ports : tuple of str
        Ports that take a word, the lowest bits first; by default those of the stream.
    valid : str
        Port that is 1 when a word is there, if it is not that of the stream.
    is_steady : bool
        Whether there is a word in every cycle.
    gate : tuple of str
        Inputs and outputs to wait for.
    after : sequence of int
        For each word, how many words must have moved over these before.
    """

    words: Sequence[int]
    ports: tuple[str, ...] = ()
    valid: str = ""
    is_steady: bool = False
    gate: tuple[str, ...] = ()
    after: Sequence[int] = ()


@dataclass(frozen=True)
class Expected:
    """Words that must leave a design.

    Members
    -------
    words : sequence of int
        In order; words of one key stand together.
    key_width : int
        Low bits of a word that are its key. Words of different keys may overtake each other.
    ports : tuple of str
        Ports that give a word, the lowest bits first; by default those of the stream.
    of, latency : str, int
        If it is no stream: the input whose words these are made from, and so many cycles before.
    masks : sequence of int
        For each word, the bits that count; by default all.
    """

    words: Sequence[int]
    key_width: int = 0
    ports: tuple[str, ...] = ()
    of: str = ""
    latency: int = 0
    masks: Sequence[int] = ()


@dataclass(frozen=True)
class Answers:
    """What a design reads from a memory beside it; each answer comes in the cycle after.

    Members
    -------
    en : str
        Port that is 1 when the design reads.
    where, what : tuple of str
        Ports that say from where, and that take what is there; the lowest bits first.
    words : sequence of (int, int)
        Where each read must be, and what is there.
    """

    en: str
    where: tuple[str, ...]
    what: tuple[str, ...]
    words: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Vectors:
    """Test cases of a design, one after the other.

    Members
    -------
    inputs : mapping
        Words by stream.
    outputs : mapping
        What must come back, by stream.
    max_cycles : int
        When to give up.
    memories : mapping
        What the design reads beside it.
    wires : mapping
        Ports that are driven by an expression over others.
    """

    inputs: Mapping[str, Sequence[int] | Sent]
    outputs: Mapping[str, Expected]
    max_cycles: int
    memories: Mapping[str, Answers] = field(default_factory=dict)
    wires: Mapping[str, str] = field(default_factory=dict)


def bench_files(design: Design, sources: list[str], vectors: Vectors) -> dict[str, str]:
    """Return a testbench by path: plain SystemVerilog, and a file of words per stream.

    Parameters
    ----------
    design : Design
        What is tested.
    sources : list of str
        Paths of its Verilog, from the folder of the testbench.
    vectors : Vectors
        What goes in, and must come out.

    Raises
    ------
    InputError
        When an input of the design is not one of the streams.
    """
    bench = _Bench(design)
    for name, sent in vectors.inputs.items():
        bench.add_source(name, sent if isinstance(sent, Sent) else Sent(sent))
    for name, expected in vectors.outputs.items():
        bench.add_sink(name, expected)
    for name, answers in vectors.memories.items():
        bench.add_memory(name, answers)
    for port, expression in vectors.wires.items():
        bench.add_wire(port, expression)
    for needed in design.ports:
        if needed.is_input and needed.name not in bench.driven:
            raise InputError(f"No test vectors for {design.name}: it has the input {needed.name}")
    n_words = sum(len(expected.words) for expected in vectors.outputs.values())
    links = [f".{name}({name})" for name in (*_clocks(design), *(p.name for p in design.ports))]
    testbench = _TESTBENCH.format(
        top=design.name,
        wires="\n".join(bench.wires),
        ports=",\n      ".join(links),
        parts="\n".join(bench.parts),
        done=" && ".join(bench.checks),
        n_words=n_words,
        max_cycles=vectors.max_cycles,
    )
    return bench.files | {
        "sim/streams.sv": STREAMS.read_text(encoding="utf-8"),
        "sim/filelist.f": "\n".join([*sources, "streams.sv", "testbench.sv", ""]),
        "sim/testbench.sv": testbench,
    }


def _clocks(design: Design) -> list[str]:
    """Return clock and reset as far as the design has them."""
    name = re.escape(design.name)
    (top,) = re.findall(rf"^module \\{name}$.*?^end$", design.rtlil, re.DOTALL | re.MULTILINE)
    return [x for x in ("clk", "rst") if re.search(rf"^  wire .*\binput \d+ +\\{x}$", top, re.M)]


class _Bench:
    """A testbench under construction.

    Members
    -------
    wires, parts : list of str
        Declarations, and instances.
    checks : list of str
        Wires that are 1 at the end.
    driven : set of str
        Input ports that something drives.
    files : dict
        Words by path.
    """

    def __init__(self, design: Design) -> None:
        self._name = design.name
        self._ports = {port.name: port for port in design.ports}
        self.wires = [f"  wire {bit_range(p.width)}{p.name};" for p in design.ports]
        self.parts: list[str] = []
        self.checks: list[str] = []
        self.driven: set[str] = set()
        self.files: dict[str, str] = {}
        self._valids: dict[str, str] = {}

    def add_source(self, name: str, sent: Sent) -> None:
        """Send words into a stream, or into ports."""
        ports = sent.ports or (f"{name}__payload",)
        valid = self._valids[name] = sent.valid or f"{name}__valid"
        ready = f"{name}__ready"
        self.driven |= {*ports, valid}
        self._declare(f"{name}__moved", 32)
        if valid not in self._ports:
            self._declare(valid)
        parameters = self._words(name, ports, sent.words)
        links = {"valid": valid, "payload": _joined(ports)}
        links["ready"] = ready if ready in self._ports else "1'b1"
        links["gate"] = " + ".join(f"{other}__moved" for other in sent.gate) or "32'd0"
        links["moved"] = f"{name}__moved"
        if sent.is_steady:
            parameters["STEADY"] = 1
        if sent.gate:
            parameters |= {"GATED": 1, "AFTER": f'"{name}.after.hex"'}
            self._write(f"{name}.after", [f"{number:x}" for number in sent.after])
        self._add("source", name, parameters, links)

    def add_sink(self, name: str, expected: Expected) -> None:
        """Compare the words of a stream, or of ports."""
        ports = expected.ports or (f"{name}__payload",)
        valid, ready = f"{name}__valid", f"{name}__ready"
        if expected.of:
            valid = self._delayed(self._valids[expected.of], name, expected.latency)
        always_ready = ready not in self._ports
        self.driven.add(ready)
        self._declare(f"{name}__moved", 32)
        parameters = self._words(name, ports, expected.words)
        parameters |= {"ALWAYS_READY": int(always_ready), "KEY_WIDTH": expected.key_width}
        if expected.masks:
            parameters |= {"MASKED": 1, "MASKS": f'"{name}.masks.hex"'}
            self._write(
                f"{name}.masks", [_hex(mask, self._width(ports)) for mask in expected.masks]
            )
        links = {"valid": valid, "payload": _joined(ports), "ready": "" if always_ready else ready}
        links |= {"done": self._check(name), "moved": f"{name}__moved"}
        self._add("sink", name, parameters, links)

    def add_memory(self, name: str, answers: Answers) -> None:
        """Answer what the design reads."""
        self.driven |= set(answers.what)
        where, what = self._width(answers.where), self._width(answers.what)
        lines = [_hex(at << what | found, where + what) for at, found in answers.words]
        self._write(name, lines)
        parameters = {"WHERE": where, "WHAT": what, "COUNT": len(lines), "FILE": f'"{name}.hex"'}
        links = {"en": answers.en, "where": _joined(answers.where), "what": _joined(answers.what)}
        self._add("memory", name, parameters, links | {"done": self._check(name)})

    def add_wire(self, port: str, expression: str) -> None:
        """Drive a port."""
        self.driven.add(port)
        self.parts.append(f"  assign {port} = {expression};\n")

    def _words(self, name: str, ports: Sequence[str], words: Sequence[int]) -> dict[str, object]:
        """Write a file of words; return the parameters that name it."""
        width = self._width(ports)
        self._write(name, [_hex(word, width) for word in words])
        seed = 0x9E37 * (len(self.parts) + 1) & 0xFFFF
        file = f'"{name}.hex"'
        return {"WIDTH": width, "COUNT": len(words), "FILE": file, "SEED": f"16'h{seed:04x}"}

    def _width(self, ports: Sequence[str]) -> int:
        for port in ports:
            if port not in self._ports:
                raise InputError(
                    f"No test vectors for {self._name}: {port} has no bits; "
                    "choose a shape of at least one bit, or leave out --vectors"
                )
        return sum(self._ports[port].width for port in ports)

    def _write(self, name: str, lines: Sequence[str]) -> None:
        self.files[f"sim/vectors/{name}.hex"] = "".join(f"{line}\n" for line in lines)

    def _declare(self, wire: str, width: int = 1) -> None:
        self.wires.append(f"  wire {bit_range(width)}{wire};")

    def _check(self, name: str) -> str:
        self._declare(done := f"{name}__done")
        self.checks.append(done)
        return done

    def _delayed(self, valid: str, name: str, cycles: int) -> str:
        """Return a wire that is ``valid`` so many cycles later."""
        if not cycles:
            return valid
        line = f"{name}__valids"
        self.wires.append(f"  reg {bit_range(cycles + 1)}{line} = 0;")
        self.parts.append(
            f"  always @(posedge clk) {line} <= {{{line}[{cycles - 1}:0], {valid}}};\n"
        )
        return f"{line}[{cycles - 1}]"

    def _add(
        self, kind: str, name: str, parameters: Mapping[str, object], links: Mapping[str, str]
    ) -> None:
        links = {"clk": "clk", "rst": "rst", **links}
        self.parts.append(instance(f"qkloom_{kind}", f"{kind}_{name}", parameters, links))


_TESTBENCH = """\
// Self-checking testbench of {top}: every stream stalls at random, every output word is compared.
// It reads its words from "vectors" beside it, or from +vectors=DIR at run time.

module testbench;
  reg clk = 0;
  reg rst = 1;
  integer cycle = 0;
  integer quiet = 0;
{wires}
  {top} dut (
      {ports}
  );

{parts}
  always #5 clk = ~clk;

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst   <= cycle < 4;
    // A while longer than the last word takes, so that a word too many is seen.
    if ({done}) quiet <= quiet + 1;
    else if (cycle == {max_cycles}) $fatal(1, "FAIL: not done after %0d cycles", cycle);
    if (quiet == 200) begin
      $display("PASS: {top}: {n_words} words are right");
      $finish;
    end
  end
endmodule
"""


def integers(words: Words) -> list[int]:
    """Return each packed payload as one integer."""
    return [int.from_bytes(row.tobytes(), "little") for row in words.astype("<u4")]


def instance(
    module: str, name: str, parameters: Mapping[str, object], links: Mapping[str, str]
) -> str:
    """Return an instance of a module: its parameters, and a wire for each of its ports."""

    def listed(pairs: Mapping[str, object]) -> str:
        return ",\n".join(f"      .{key}({value})" for key, value in pairs.items())

    return f"  {module} #(\n{listed(parameters)}\n  ) {name} (\n{listed(links)}\n  );\n"


def bit_range(width: int) -> str:
    """Return what stands before the name of a wire of so many bits."""
    return f"[{width - 1}:0] " if width > 1 else ""


def _joined(ports: Sequence[str]) -> str:
    return ports[0] if len(ports) == 1 else f"{{{', '.join(reversed(ports))}}}"


def _hex(word: int, width: int) -> str:
    return f"{word:0{-(-width // 4)}x}"
