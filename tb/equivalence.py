"""Proofs that two circuits agree, in stages: registers first, then what is computed from them.

A solver that has to compare two multipliers of different shape does not finish. It need not, when
the multipliers' operands have been proven equal before: then one of them serves both.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .design import Design
from .errors import ToolError
from .formal import TIMEOUT_SECONDS, ProofError
from .yosys import find_full_yosys

__all__ = ["prove_equal"]

PREPARE = """
{models}
read_rtlil design.il
hierarchy -check -top {top}
proc
flatten
async2sync
dffunmap
opt_clean
cd {top}
"""

# After a stage, one of each pair is no longer computed, and equal cells on equal inputs are merged:
# multipliers without the bits of operands that are zeros or copies of the sign.
MERGE = """
{connections}
opt_expr -fine
wreduce t:$mul
opt_merge
opt_clean
"""


def prove_equal(
    design: Design, stages: Sequence[Mapping[str, str]], *, models: Mapping[str, str]
) -> None:
    """Prove that pairs of signals are equal in every cycle after power-up.

    Each stage is proven by induction over one cycle, with the pairs of the stages before it taken
    as one signal.

    Parameters
    ----------
    design : Design
        Contains both circuits, on equal inputs.
    stages : sequence of mappings
        Pairs of expressions over signals, as Yosys writes them: ``dut.x[3:0]``, and ``a,2'd0`` for
        a concatenation, highest bits first.
    models : mapping
        Verilog of the primitives that the design is made of, by name.

    Raises
    ------
    ProofError
        When a pair differs, or its equality does not follow from that of its own stage and of those
        before it; the message has the stage.
    ToolError
        When Yosys is missing or cannot read the design.
    """
    yosys = find_full_yosys()
    # Deferred: a module that is not instantiated with its default parameters need not allow them.
    reads = "\n".join(f"read_verilog -defer {name}.v" for name in models)
    script = PREPARE.format(models=reads, top=design.name)
    for stage in stages:
        claims = " ".join(f"-prove {left} {right}" for left, right in stage.items())
        script += f"sat -tempinduct -verify -maxsteps 1 {claims}\n"
        connections = "\n".join(f"connect -set {left} {right}" for left, right in stage.items())
        script += MERGE.format(connections=connections)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "design.il").write_text(design.rtlil)
        for name, text in models.items():
            (folder / f"{name}.v").write_text(text)
        title = f"The proof of {design.name}"
        done = yosys.start(script.splitlines(), cwd=folder, timeout=TIMEOUT_SECONDS, title=title)
    n_proven = done.stdout.count("Induction step proven: SUCCESS!")
    if done.returncode == 0 and n_proven == len(stages):
        return
    printed = done.stdout + done.stderr
    if "proof did fail" in printed:
        raise ProofError(f"{design.name} is not equal in stage {n_proven + 1} of {len(stages)}")
    raise ToolError(f"Yosys failed: {printed.strip()[-500:]}")
