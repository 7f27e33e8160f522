"""Self-checking SystemVerilog testbenches: words for every stream, and what must come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..tb.design import Design
from ..tb.packing import Words
from ..tb.tensors import InputError

__all__ = ["Expected", "Vectors", "bench_files", "integers"]

STREAMS = Path(__file__).parent / "sv" / "streams.sv"


@dataclass(frozen=True)
class Expected:
    """Words that must leave a stream.

    Members
    -------
    words : sequence of int
        In order; words of one key stand together.
    key_width : int
        Low bits of a word that are its key. Words of different keys may overtake each other.
    """

    words: Sequence[int]
    key_width: int = 0


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
    """

    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Expected]
    max_cycles: int


def bench_files(design: Design, verilog: str, vectors: Vectors) -> dict[str, str]:
    """Return a testbench by path: plain SystemVerilog, and a file of words per stream.

    Parameters
    ----------
    design : Design
        What is tested.
    verilog : str
        Path of its Verilog, from the folder of the testbench.
    vectors : Vectors
        What goes in, and must come out.

    Raises
    ------
    InputError
        When an input of the design is not one of the streams.
    """
    ports = {port.name: port for port in design.ports}
    connected = {f"{name}__{part}" for name in vectors.inputs for part in ("payload", "valid")}
    connected |= {f"{name}__ready" for name in vectors.outputs}
    for port in design.ports:
        if port.is_input and port.name not in connected:
            raise InputError(f"No test vectors for {design.name}: it has the input {port.name}")

    parts, checks, files = [], [], {}
    wires = [f".{name}({name})" for name in ports]
    streams: list[tuple[str, Sequence[int] | Expected]]
    streams = [*vectors.inputs.items(), *vectors.outputs.items()]
    for seed, (name, words) in enumerate(streams, 1):
        values = words.words if isinstance(words, Expected) else words
        width = ports[f"{name}__payload"].width
        digits = -(-width // 4)
        files[f"sim/vectors/{name}.hex"] = "".join(f"{word:0{digits}x}\n" for word in values)
        has_ready = f"{name}__ready" in ports
        parameters = {
            "WIDTH": width,
            "COUNT": len(values),
            "FILE": f'"{name}.hex"',
            "SEED": f"16'h{0x9E37 * seed & 0xFFFF:04x}",
        }
        links = {"clk": "clk", "rst": "rst", "valid": f"{name}__valid"}
        links["payload"] = f"{name}__payload"
        links["ready"] = (
            f"{name}__ready" if has_ready else "" if name in vectors.outputs else "1'b1"
        )
        if isinstance(words, Expected):
            parameters["ALWAYS_READY"] = int(not has_ready)
            parameters["KEY_WIDTH"] = words.key_width
            links["done"] = f"{name}__done"
            checks.append(f"{name}__done")
        kind = "sink" if isinstance(words, Expected) else "source"
        parts.append(_instance(f"qkloom_{kind}", f"{kind}_{name}", links, parameters))
    n_words = sum(len(expected.words) for expected in vectors.outputs.values())
    files["sim/streams.sv"] = STREAMS.read_text(encoding="utf-8")
    files["sim/filelist.f"] = f"{verilog}\nstreams.sv\ntestbench.sv\n"
    files["sim/testbench.sv"] = _TESTBENCH.format(
        top=design.name,
        wires="".join(f"  wire {_range(port.width)}{name};\n" for name, port in ports.items())
        + "".join(f"  wire {name};\n" for name in checks),
        ports=",\n      ".join([".clk(clk)", ".rst(rst)", *wires]),
        parts="\n".join(parts),
        done=" && ".join(checks),
        n_words=n_words,
        max_cycles=vectors.max_cycles,
    )
    return files


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


def _instance(
    module: str, name: str, links: Mapping[str, str], parameters: Mapping[str, object]
) -> str:
    def listed(pairs: Mapping[str, object]) -> str:
        return ",\n".join(f"      .{key}({value})" for key, value in pairs.items())

    return f"  {module} #(\n{listed(parameters)}\n  ) {name} (\n{listed(links)}\n  );\n"


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""
