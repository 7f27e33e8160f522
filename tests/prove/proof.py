"""What is proven: a claim about hardware, in steps that each show a part of it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from qkloom.tb.design import Design
from qkloom.tb.engines import check
from qkloom.tb.testbench import Testbench
from qkloom.tb.yosys import FULL_VERSION
from tests.mutate.trial import add_bench

__all__ = ["INDUCTION", "Proof", "Step", "models_of", "simulated"]

INDUCTION = f"induction, Yosys {FULL_VERSION}"
"""How formal proofs are made."""


@dataclass(frozen=True)
class Step:
    """A part of a proof.

    Members
    -------
    design : Design
        The hardware.
    given : bytes
        What else the verdict depends on: models of primitives, stimuli, expected values.
    run : callable
        Raises an exception if it is not so.
    """

    design: Design
    given: bytes
    run: Callable[[], object]


@dataclass(frozen=True)
class Proof:
    """A claim, and how it is shown.

    Members
    -------
    name : str
        What the table calls it.
    claim : str
        What is shown, in words.
    how : str
        By what means.
    steps : callable
        Yields its parts; called only when they are needed, as that may take a while.
    """

    name: str
    claim: str
    how: str
    steps: Callable[[], Iterator[Step]]

    def fingerprint(self) -> dict[str, str]:
        """Return digests of the hardware and of everything else; equal ones end equally."""
        hardware, given = hashlib.sha256(), hashlib.sha256(repr((self.claim, self.how)).encode())
        for step in self.steps():
            hardware.update(step.design.digest.encode())
            given.update(hashlib.sha256(step.given).digest())
        return {"hardware": hardware.hexdigest()[:16], "given": given.hexdigest()[:16]}

    def run(self) -> dict[str, object]:
        """Return what became of it: ``steps``, ``seconds`` and the ``verdict``."""
        start, n, verdict = time.perf_counter(), 0, "proven"
        try:
            for step in self.steps():
                step.run()
                n += 1
        except Exception as error:
            reason = str(error).partition("\n")[0]
            verdict = f"step {n + 1} failed: {type(error).__name__}: {reason}"
        seconds = round(time.perf_counter() - start, 1)
        return {"steps": n, "seconds": seconds, "verdict": verdict}


def models_of(models: dict[str, str]) -> bytes:
    """Return models of primitives as a part of what a proof depends on."""
    return repr(sorted(models.items())).encode()


def simulated(
    design: Design,
    bench: Testbench,
    engine: str,
    *,
    made: Callable[[], Design] | None = None,
    by: str = "",
) -> Step:
    """Return the step that runs a testbench, which compares every payload.

    Parameters
    ----------
    made : callable, optional
        Makes of the design what is simulated.
    by : str
        Digest of how.
    """
    digest = hashlib.sha256(repr((engine, by, design.primitives)).encode())
    add_bench(digest, bench)
    for name, expectation in bench.outputs.items():
        digest.update(repr(name).encode() + np.asarray(expectation.values).tobytes())
    return Step(design, digest.digest(), lambda: check(made() if made else design, bench, engine))
