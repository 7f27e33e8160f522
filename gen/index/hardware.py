"""A kernel that selects blocks of keys: what it is told, what it says, and what it should say."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...rtl.kernel.kernel import Kernel
from ...tb.attention import Bools
from ...tb.deal import Call
from ...tb.errors import CallError, InputError
from ...tb.index.exact import CoverageRule, ExactHead, exact_coverage
from ...tb.kernel import start_kernel
from ...tb.kernel.host import Host
from ...tb.kernel.image import Bytes, Image
from ...tb.kernel.index import HeadResult, IndexCall, IndexTask, place_index, planned_index_bytes
from ...tb.quantize import Operands
from ..call import emitted_kernel, memory_model
from ..chip import ChipDescription
from ..progress import Progress

LOOK = 64
"""Cycles from a look at a simulated memory to the next one."""

__all__ = ["Selected", "Selecting", "head_result", "prepare_index", "run_index"]


@dataclass(frozen=True, eq=False)
class Selected:
    """What a kernel selected.

    Members
    -------
    masks : bool array (heads, query blocks, KV blocks)
        The selection in memory.
    heads : list of HeadResult
        What the kernel says of each head.
    cycles : int
        From the start of the call to its interrupt.
    bit_exact : bool
        Whether all of it is the exact model's.
    n_bytes : dict
        Bytes moved: last queries ``q``, keys ``k``, queries of query-aware heads ``v``.
    head_cycles : list of int
        Cycles from a head's record in memory to the next one's; the first one's from the start.
        Memory is looked at every :data:`LOOK` cycles.
    """

    masks: Bools
    heads: list[HeadResult]
    cycles: int
    bit_exact: bool
    n_bytes: dict[str, int]
    head_cycles: list[int]

    def k_bytes(self, group: int) -> list[int]:
        """Return the bytes of keys by query heads, those of a KV head shared by its group."""
        heads = len(self.heads)
        each = self.n_bytes["k"] // (heads // group)
        return [each * (k % group + 1) // group - each * (k % group) // group for k in range(heads)]


@dataclass(frozen=True, eq=False)
class Selecting:
    """An index call that is to be run.

    Members
    -------
    call : IndexCall
        What is asked.
    expected : sequence of ExactHead
        What the exact model says.
    planned : dict
        Bytes that it must move, by the kernel's own formula.
    cycle_limit : int
        More cycles than a run takes that gets on.
    """

    call: IndexCall
    expected: Sequence[ExactHead]
    planned: dict[str, int]
    cycle_limit: int

    @property
    def masks(self) -> Bools:
        """What the exact model selects."""
        return np.stack([head.verdict.mask for head in self.expected])

    def place(self, kernel: Kernel, image: Image) -> IndexTask:
        """Place the call in an image of memory."""
        return place_index(kernel, self.call, image)

    def run(self, task: IndexTask, host: Host, memory: list[Bytes]) -> Selected:
        """Let the kernel of a host run the call that is in its memory.

        Raises
        ------
        CallError
            When the hardware breaks a rule of its buses, or does not finish.
        """
        before = {name: host.read(f"{name}_bytes") for name in "qkv"}
        ends: list[int] = []
        unwritten = task.records(memory).copy()

        def look(cycles: int) -> None:
            ends.extend([cycles] * (task.done(memory, unwritten) - len(ends)))

        outcome = host.call(task.arguments, self.cycle_limit, look, every=LOOK)
        look(outcome.cycles)
        ends.extend([outcome.cycles] * (len(self.expected) - len(ends)))
        moved = {name: host.read(f"{name}_bytes") - n for name, n in before.items()}
        masks, heads = task.masks(memory), task.results(memory)
        exact = bool((masks == self.masks).all())
        exact &= heads == [head_result(made) for made in self.expected]
        of_heads = [end - begin for begin, end in itertools.pairwise([0, *ends])]
        return Selected(masks, heads, outcome.cycles, exact, moved, of_heads)


def prepare_index(
    description: ChipDescription, kernel: Kernel, call: Call, rule: CoverageRule
) -> Selecting:
    """Return an index call for the queries and keys of an attention call, with its answer.

    Raises
    ------
    InputError
        When the chip selects no blocks, or not from so many tokens, or queries and keys have not
        as many.
    """
    most = kernel.parameters["index_tokens"]
    if not most:
        raise InputError(
            f'{description.name} selects no blocks; describe a chip with index = "coverage"'
        )
    heads, tokens, head_dim = call.q.shape
    if tokens != call.k.shape[1]:
        raise InputError(
            f"q and k must have as many tokens, since blocks are selected for all of them, not "
            f"{tokens} and {call.k.shape[1]}; cut the longer one"
        )
    if tokens > most:
        raise InputError(
            f"tokens to select from must be at most {most:,}, which {description.name} has tables "
            f"for, not {tokens:,}; describe a chip with a larger index.tokens"
        )
    asked = IndexCall(call.q, call.k, call.mantissa, call.shift, rule, call.query_bits)
    expected = exact_coverage(
        call.q, call.k, call.mantissa, call.shift, description.index_numerics, rule
    )
    aware = [head.verdict.is_aware for head in expected]
    # As if one lane scored all of it, slowly; and every head were query-aware.
    size, blocks = description.size, -(-tokens // description.block)
    tiles = -(-tokens // size) * -(-head_dim // size)
    planes = description.numerics.stream_width if description.has_runtime_precision else 1
    of_head = 2 * planes * description.block * tiles + 8 * tokens * head_dim // size
    limit = 50_000 + heads * (of_head + 4 * blocks * blocks + 200 * blocks + 10_000)
    return Selecting(asked, expected, planned_index_bytes(kernel, asked, aware), limit)


def run_index(
    description: ChipDescription,
    operands: Operands,
    rule: CoverageRule,
    engine: str,
    progress: Progress,
) -> tuple[Selecting, Selected]:
    """Let a chip's kernel select blocks of keys.

    Parameters
    ----------
    description : ChipDescription
        The chip.
    operands : Operands
        Queries (heads, tokens, head_dim), and keys.
    rule : CoverageRule
        What is asked for.
    engine : str
        ``cxxrtl``, ``verilator`` or ``pysim``.
    progress : callable
        Is told what is being done.

    Raises
    ------
    InputError
        When the chip selects no blocks, or not from so many tokens.
    ToolError
        When the simulator cannot be built or run.
    CallError
        When the hardware breaks a rule of its buses, or does not finish.
    """
    progress("emitting", None)
    kernel, design = emitted_kernel(description, engine == "verilator")
    padding = ((0, 0), (0, 0), (0, -operands.q.shape[-1] % description.size))
    q, k = (np.pad(x, padding) for x in (operands.q, operands.k))
    call = Call(q, k, k, operands.mantissa, operands.shift, causal=True)
    progress("exact model", None)
    selecting = prepare_index(description, kernel, call, rule)
    image = Image(kernel.n_channels)
    task = selecting.place(kernel, image)
    progress("building the simulator", None)
    with start_kernel(design, memory_model(description, image), engine) as simulation:
        memory = [simulation.memory[channel] for channel in range(kernel.n_channels)]
        image.write(memory)
        progress("selecting blocks", None)
        selected = selecting.run(task, Host(simulation, kernel.registers), memory)
        if spoiled := image.changed(memory):
            raise CallError(f"The kernel wrote outside its selection, at {spoiled[0]:#x}")
    return selecting, selected


def head_result(made: ExactHead) -> HeadResult:
    """Return what a kernel must say of a head."""
    verdict = made.verdict
    kinds = [verdict.columns, verdict.diagonals, *([verdict.pairs] if verdict.pairs else [])]
    counts = [kind.count for kind in kinds] + [0] * (3 - len(kinds))
    flat = [bool(kind.flat) for kind in kinds] + [False] * (3 - len(kinds))
    return HeadResult(
        is_aware=verdict.is_aware,
        flat=(flat[0], flat[1], flat[2]),
        divergence=verdict.divergence,
        columns=counts[0],
        diagonals=counts[1],
        pairs=counts[2],
        blocks=len(verdict.columns.taken),
    )
