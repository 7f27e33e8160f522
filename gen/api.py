"""The Python interface: load a chip, generate it, run attention on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .chip import ChipDescription, read_chip

if TYPE_CHECKING:
    from .index import Index
    from .progress import Progress
    from .simulate import Simulation

__all__ = ["Chip", "load"]


class Chip:
    """A chip: its description, and what can be done with it.

    Members
    -------
    description : ChipDescription
        The checked description.
    name : str
        Its name.
    """

    def __init__(self, description: ChipDescription) -> None:
        self.description = description

    @property
    def name(self) -> str:
        """Name of the chip."""
        return self.description.name

    def __repr__(self) -> str:
        return f"<qkloom chip {self.name}: {self.description.n_lanes} lanes>"

    def generate(self, directory: str | Path, *, vectors: int = 0) -> Path:
        """Write Verilog, simulation files and a manifest.

        Parameters
        ----------
        directory : path
            Folder to write; one that exists is replaced if it is empty, or was generated and has
            nothing else in it.
        vectors : int
            Attention calls in a self-checking SystemVerilog testbench; 0 for no testbench.

        Returns
        -------
        Path
            The folder, absolute.

        Raises
        ------
        InputError
            When the folder is someone else's, or cannot be written.
        """
        from .generate import generate_chip

        return generate_chip(self.description, directory, vectors=vectors)

    def simulate(
        self,
        q: Any,
        k: Any,
        v: Any,
        *,
        causal: bool = False,
        q_start: int = 0,
        scale: float | None = None,
        query_bits: int | None = None,
        block_mask: Any = None,
        index: str | None = None,
        engine: str = "cxxrtl",
        waves: str | Path | None = None,
        verilator: str | Path | None = None,
        progress: "Progress | None" = None,
    ) -> "Simulation":
        """Run attention on the hardware, and compare it with its exact model and with float64.

        Parameters
        ----------
        q : (heads, tokens, head_dim) or (batch, heads, tokens, head_dim) array
            Queries: a NumPy array, or anything with ``__array__`` or ``__dlpack__``.
        k, v : array
            Keys and values: any number of tokens, as many heads as ``q`` or a divisor of that.
        causal : bool
            Let query ``i`` see keys up to ``q_start + i`` only.
        q_start : int
            Position of the first query among the keys.
        scale : float, optional
            Factor of the scores, 1/sqrt(head_dim) when absent.
        query_bits : int, optional
            Bits that queries are quantized to, 2 to ``stream_width`` (when absent). Lanes with
            runtime precision take a cycle for each; of others, only the numbers change.
        block_mask : array of bool, optional
            A selection: which block of keys each block of queries attends to, beside ``causal``.
            (heads, query blocks, KV blocks), with batch in front if the tensors have it, or what
            broadcasts to that; blocks are of as many tokens as the description says. A query that
            is left with nothing gives zeros. The chip has ``sparse = true``.
        index : str, optional
            ``coverage``: the hardware selects blocks itself, in a call before, by the rule of the
            description. If that has another index, its variant with this one runs. Implies
            ``causal``.
        engine : str
            ``cxxrtl``, ``verilator`` or ``pysim``.
        waves : path, optional
            Where to write waveforms (VCD).
        verilator : path, optional
            A Verilator to use instead of that of the Python package.
        progress : callable, optional
            Is told each step as it begins, and while the hardware runs the share of its answers.

        Raises
        ------
        InputError
            When tensors or selection are no attention call, or one that the chip cannot compute.
        ToolError
            When the simulator cannot be built or run.
        CallError
            When the hardware breaks a rule of its buses, or does not finish.
        """
        from .simulate import simulate

        return simulate(
            self.description,
            q,
            k,
            v,
            causal=causal,
            q_start=q_start,
            scale=scale,
            query_bits=query_bits,
            block_mask=block_mask,
            index=index,
            engine=engine,
            waves=waves,
            verilator=verilator,
            progress=progress,
        )

    def index(
        self,
        q: Any,
        k: Any,
        *,
        snr: float | None = None,
        seed: int = 0,
        first_head: int = 0,
        engine: str = "cxxrtl",
        progress: "Progress | None" = None,
        **changes: Any,
    ) -> "Index":
        """Choose blocks of keys for each block of queries, and say how good they are.

        Causal attention of all tokens to all.

        Parameters
        ----------
        q : (heads, tokens, head_dim) or (batch, heads, tokens, head_dim) array
            Queries: a NumPy array, or anything with ``__array__`` or ``__dlpack__``.
        k : array
            Keys: as many tokens, as many heads as ``q`` or a divisor of that.
        snr : float, optional
            Of a forecast: power of what it is made of, a KV group's mean query, over that of noise,
            in dB. No noise when absent.
        seed : int
            Of the noise.
        first_head : int
            Number of the first head, if these are some of more.
        engine : str
            ``cxxrtl``, ``verilator`` or ``pysim``.
        progress : callable, optional
            Is told each step as it begins, with the share that is done.
        **changes
            Keys of the table ``index`` that are other than in the description: ``method``,
            ``gamma``, ``tau``, ``min_budget``, ``max_budget``, ``top_k`` and so on.

        Raises
        ------
        InputError
            When tensors are not those of one call, or larger than the chip takes, or when a key is
            not what a description may say.
        ToolError
            When the simulator cannot be built or run.
        RunError
            When the hardware breaks a rule of its streams, or does not finish.
        """
        from .index import index

        return index(
            self.description,
            q,
            k,
            snr=snr,
            seed=seed,
            first_head=first_head,
            engine=engine,
            progress=progress,
            **changes,
        )


def load(source: str | Path | Mapping[str, Any] | ChipDescription) -> Chip:
    """Return a chip.

    Parameters
    ----------
    source : str, path, mapping or ChipDescription
        Name of a preset, path of a TOML file, or the description itself.

    Raises
    ------
    InputError
        When the description is wrong, with one line for every mistake.
    """
    return Chip(source if isinstance(source, ChipDescription) else read_chip(source))
