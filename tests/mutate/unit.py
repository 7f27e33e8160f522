"""What is mutated: a unit, what surrounds it, and the testbenches that must notice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qkloom.rtl.component import Component
from qkloom.tb.packing import Words, pack, unpack
from qkloom.tb.stalls import Stall
from qkloom.tb.testbench import Expectation, Stimulus, Testbench

__all__ = [
    "BEHIND",
    "UNSENT",
    "Unit",
    "counted",
    "frozen",
    "noise",
    "one_chosen",
    "paced",
    "played",
]

PACES = 12

BEHIND = "Behind the last one nobody looks ahead: what the count is there does not matter."
"""Why a mutant of a count that looks ahead survives."""

UNSENT = (
    "What is sent in the last cycle of a reset would show it; testbenches send nothing then, nor "
    "do units that have been in reset for a cycle."
)
"""Why a mutant survives that a reset does not clear at once."""


@dataclass(frozen=True)
class Unit:
    """A unit to mutate.

    Members
    -------
    name : str
        What the table calls it.
    component : Component
        The unit, or what surrounds it: then the unit is the attribute ``unit``.
    benches : sequence of Testbench
        One after the other, until one of them notices the mutant.
    is_timed : bool
        Whether the description of the unit says when everything happens. If it does, a mutant that
        is early or late is wrong; if not, it is as good.
    without : tuple of str
        Beginnings of the names of modules that are not mutated here: they are units of their own.
    claims : mapping
        What always holds inside, for proofs that a mutant changes nothing: by the beginning of a
        module's name, an expression in Verilog over its wires. It is proven by induction.
    promises : mapping
        What users promise, likewise; it is taken for granted in proofs.
    explained : mapping
        Why mutants survive, by their place.
    """

    name: str
    component: Component
    benches: Sequence[Testbench]
    is_timed: bool = True
    without: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    promises: Mapping[str, str] = field(default_factory=dict)
    explained: Mapping[str, str] = field(default_factory=dict)

    @property
    def unit(self) -> Component:
        """What is mutated."""
        return getattr(self.component, "unit", self.component)


def counted(name: str, n: str, *, width: int) -> str:
    """Return what holds of a count of :mod:`qkloom.rtl.lane.count` to ``n``, as a claim."""
    return (
        f"{name}_is_first == ({name} == 0) && {name}_ahead == ({name} + 2) % {1 << width} && "
        f"({name} == 0 || next_{name}_is_last == ({name} + 1 == {n}))"
    )


def one_chosen(n: int) -> str:
    """Return what holds of the turn of :class:`qkloom.rtl.stream.Merge` of ``n``, as a claim."""
    mask = (1 << n) - 1
    return (
        f"chosen != 0 && (chosen & chosen - 1) == 0 && above == (~(chosen | chosen - 1) & {mask})"
    )


def frozen(**parameters: Any) -> tuple[tuple[str, Any], ...]:
    """Return keyword parameters as one immutable parameter."""
    return tuple(parameters.items())


def paced(
    inputs: Mapping[str, ArrayLike],
    counts: Mapping[str, int | None],
    *,
    max_cycles: int,
    steady: Sequence[str] = (),
    lengths: Sequence[int] = (1, 3, 8),
    varied: Mapping[str, Callable[[np.random.Generator], ArrayLike]] | None = None,
) -> list[Testbench]:
    """Return testbenches that send and take the same at different paces.

    Parameters
    ----------
    inputs : mapping
        Payloads by stream.
    counts : mapping
        How many payloads come out, by stream, or None if that is not known before; of those that
        are always ready, none need be listed.
    max_cycles : int
        Of the slowest one.
    steady : sequence of str
        Streams that never stall.
    lengths : sequence of int
        Cycles that streams stall, or do not, at a time.
    varied : mapping
        Inputs that are others in each testbench, and never stall.
    """
    rng = np.random.default_rng(len(inputs))
    shares = [0.0, 0.1, 0.4, 0.7, 0.9]
    benches = []
    for seed in range(PACES):

        def stall(name: str, seed: int = seed) -> Stall:
            if seed == 0 or name in steady:
                return Stall()
            return Stall(float(rng.choice(shares)), int(rng.choice(lengths)), seed)

        benches.append(
            Testbench(
                inputs={
                    **{name: Stimulus(values, stall(name)) for name, values in inputs.items()},
                    **{name: Stimulus(make(rng)) for name, make in (varied or {}).items()},
                },
                outputs={
                    name: Expectation(count=count, stall=stall(name))
                    for name, count in counts.items()
                },
                max_cycles=max_cycles,
                # A first attempt is cut short by a reset.
                aborted_cycles=int(rng.integers(10, 150)),
            )
        )
    return benches


def noise(shape: Any, n: int, rng: np.random.Generator) -> Words:
    """Return packed payloads of random bits."""
    words = rng.integers(0, 1 << 32, (n, -(-shape.size // 32)), np.uint32)
    words[:, -1] &= np.uint32((1 << (shape.size - 1) % 32 + 1) - 1)
    return words


def played(component: Component, script: Sequence[Mapping[str, Any]]) -> list[Testbench]:
    """Return the testbenches that play a script: what a unit gets in each cycle.

    Parameters
    ----------
    component : Scripted
        The unit in its surroundings.
    script : sequence of mapping
        Values by path, as ``{"i__valid": 1, "i__payload.tag.row": 3}``. What is not named is
        random, and of all that is called ``valid`` or ``en`` it is 0.
    """
    shape, n = component.script.payload.shape(), len(script)
    rng = np.random.default_rng(n)
    fields = unpack(shape, noise(shape, n, rng))
    for name in shape.members:
        if name.endswith(("__valid", "__en")):
            fields[name][:] = 0
    for cycle, item in enumerate(script):
        for path, value in item.items():
            array = fields
            for name in path.split("."):
                array = array[name]
            array[cycle] = value
    packed = pack(shape, **fields)
    return [
        Testbench(
            inputs={"script": Stimulus(packed)},
            outputs={},
            max_cycles=n + 1,
            aborted_cycles=int(aborted),
            quiet_cycles=64,
        )
        # A first attempt is cut short by a reset, wherever it is.
        for aborted in rng.integers(8, n, PACES)
    ]
