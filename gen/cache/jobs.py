"""Lists of jobs: from files, and of contexts that are made up."""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tb.attention import Bools
from ...tb.cache.faults import EmptyListError, UnknownBlockError
from ...tb.cache.visits import what_is_needed
from ...tb.errors import InputError
from ...tb.index.contexts import generate
from ...tb.index.coverage import coverage
from ...tb.tensors import load_array
from ..chip import ChipDescription
from ..progress import Progress

__all__ = ["JobList", "generate_jobs", "read_jobs"]

_HEADER = ["block", "query_block", "head"]
_MOST = 1 << 27
"""Triples of head, query block and KV block that a list may be about: some bytes each."""

_LONGEST, _MOST_KV_HEADS = 1 << 18, 64
"""What a made-up context may be: a gigabyte of keys and queries, and minutes for each KV head."""


@dataclass(frozen=True, eq=False)
class JobList:
    """Jobs of a call.

    Members
    -------
    needs : bool array (heads, query blocks, KV blocks)
        Which KV blocks each query block of each head takes.
    kv_heads : int
        Heads of keys.
    uses : int array (KV heads * KV blocks,) or None
        Jobs of each block, where they are announced; else they are counted.
    origin : str
        Where the list is from.
    """

    needs: Bools
    kv_heads: int
    origin: str
    uses: NDArray[np.int32] | None = None


def read_jobs(
    path: Path, *, kv_heads: int | None = None, block: int = 128, causal: bool = False
) -> JobList:
    """Read a list of jobs.

    Parameters
    ----------
    path : Path
        ``.npy`` or ``.npz``: a selection, bool (heads, query blocks, KV blocks). ``.csv``: a line
        ``block,query_block,head``, and below it one for each job, in any order. ``.json``: an
        object with ``kv_heads``, ``blocks`` (of a KV head), ``jobs``, a list of ``[block,
        query_block, head]``, and optionally ``uses``: how many jobs each block has, KV head by KV
        head. Blocks are numbered within their KV head.
    kv_heads : int, optional
        Heads of keys; 1 if neither this nor the file tells.
    block : int
        Tokens of a block.
    causal : bool
        Of a selection: whether query block i sees KV blocks up to i.

    Raises
    ------
    InputError
        When the file is no such list.
    """
    if path.suffix in (".npy", ".npz"):
        return _of_selection(path, kv_heads or 1, block, causal)
    if causal:
        raise InputError(f"--causal cuts a selection, and {path} is a list of jobs; leave it out")
    if path.suffix not in (".csv", ".json"):
        raise InputError(
            f"{path} must end in .npy or .npz (a selection), .csv or .json (a list of jobs)"
        )
    if not path.is_file():
        raise InputError(f"{path} must be an existing file with a list of jobs; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise InputError(f"{path} must be text in UTF-8: {error}") from None
    blocks, uses = None, None
    if path.suffix == ".csv":
        jobs = _of_csv(path, text)
    else:
        found = _of_json(path, text)
        jobs, uses, blocks = found["jobs"], found.get("uses"), found["blocks"]
        if kv_heads not in (None, found["kv_heads"]):
            raise InputError(
                f"--kv-heads must be {found['kv_heads']}, as {path} has it, not {kv_heads}; leave "
                "it out"
            )
        kv_heads = found["kv_heads"]
    needs = _needs_of(path, jobs, kv_heads or 1, blocks)
    announced = None if uses is None else _numbers(path, "uses", uses, 1)
    n = needs.shape[-1] * (kv_heads or 1)
    if announced is not None and len(announced) != n:
        raise InputError(
            f"{path}: uses must have a number for each of {n} blocks, not {len(announced)}"
        )
    return JobList(needs, kv_heads or 1, path.name, announced)


def generate_jobs(
    chip: ChipDescription,
    family: str,
    tokens: int,
    *,
    kv_heads: int = 1,
    seed: int = 1,
    progress: Progress | None = None,
) -> JobList:
    """Make a long context of one family, four heads to a KV head, and let coverage select.

    Parameters
    ----------
    chip : ChipDescription
        Whose blocks and rule of coverage they are; it is applied in float64.
    family : str
        One of :func:`qkloom.tb.index.contexts.families`.
    tokens, kv_heads, seed
        As of :func:`qkloom.tb.index.contexts.generate`.
    """
    tell = progress or (lambda step, share: None)
    if not chip.block <= tokens <= _LONGEST:
        raise InputError(f"--tokens must be {chip.block} to {_LONGEST:,}, not {tokens}")
    if kv_heads > _MOST_KV_HEADS:
        raise InputError(f"--kv-heads must be at most {_MOST_KV_HEADS}, not {kv_heads}")
    masks = []
    for kv_head in range(kv_heads):
        tell(f"context of KV head {kv_head}", kv_head / kv_heads)
        context = generate(family, tokens, heads=4, seed=seed + kv_head, block=chip.block)
        tell(f"selection of KV head {kv_head}", (kv_head + 0.5) / kv_heads)
        rule = vars(chip.coverage_rule)
        masks += [head.mask for head in coverage(context.q, context.k, block=chip.block, **rule)]
    needs = what_is_needed(np.stack(masks), block=chip.block, n_q=tokens, n_kv=tokens, causal=True)
    return JobList(needs, kv_heads, f"{family}, {tokens:,} tokens")


def _of_selection(path: Path, kv_heads: int, block: int, causal: bool) -> JobList:
    masks = load_array(path)
    if masks.dtype != np.bool_ or masks.ndim != 3 or not masks.size:
        raise InputError(
            f"{path} must be an array of bool (heads, query blocks, KV blocks), "
            f"not {masks.shape} of {masks.dtype}; True selects a block of keys"
        )
    n_q, n_kv = (n * block for n in masks.shape[1:])
    needs = what_is_needed(masks, block=block, n_q=n_q, n_kv=n_kv, causal=causal)
    return JobList(needs, kv_heads, path.name)


def _of_csv(path: Path, text: str) -> list[list[Any]]:
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error as error:
        raise InputError(f"{path} must be CSV: {error}") from None
    if not rows or [cell.strip() for cell in rows[0]] != _HEADER:
        first = ",".join(rows[0]) if rows else ""
        raise InputError(f"{path} must begin with {','.join(_HEADER)}, not {first[:60]!r}")
    for row in rows[1:]:
        if len(row) != 3 or not all(re.fullmatch(r"\s*[0-9]{1,10}\s*", cell) for cell in row):
            raise InputError(
                f"{path}: a job must be three numbers of 0 or more, of ten digits at most, not "
                f"{','.join(row)[:60]!r}"
            )
    return [list(map(int, row)) for row in rows[1:]]


def _of_json(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} must be JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} must be an object with kv_heads, blocks and jobs")
    known = {"kv_heads", "blocks", "jobs", "uses"}
    if wrong := sorted(set(found) - known) or sorted(known - {"uses"} - set(found)):
        raise InputError(
            f"{path} must have the keys kv_heads, blocks and jobs, uses if it likes, and no "
            f"other; look at {wrong[0]}"
        )
    for name in ("kv_heads", "blocks"):
        value = found[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{path}: {name} must be a positive integer, not {value!r}")
    return found


def _needs_of(path: Path, jobs: Any, kv_heads: int, blocks: int | None) -> Bools:
    """Return which blocks are needed, of a list in any order."""
    listed = _numbers(path, "jobs", jobs, 2)
    if not len(listed):
        raise EmptyListError
    if listed.shape[1] != 3:
        raise InputError(f"{path}: a job must be block, query_block, head, not {jobs[0]!r}")
    block, query_block, head = listed.T
    n_q, heads = int(query_block.max()) + 1, int(head.max()) + 1
    heads = -(-heads // kv_heads) * kv_heads
    n = blocks or int(block.max()) + 1
    if block.max() >= n:
        raise UnknownBlockError(int(block.max()), n)
    if heads * n_q * n > _MOST:
        raise InputError(
            f"{path} must be about {_MOST:,} pairs of blocks at most, not {heads} heads times "
            f"{n_q} times {n}; number blocks from 0"
        )
    needs = np.zeros((heads, n_q, n), bool)
    needs[head, query_block, block] = True
    if needs.sum() != len(listed):
        unique, count = np.unique(listed, axis=0, return_counts=True)
        twice = unique[count.argmax()].tolist()
        raise InputError(
            f"{path}: a job must come once, and block {twice[0]}, query block {twice[1]}, head "
            f"{twice[2]} comes {count.max()} times; leave it out"
        )
    return needs


def _numbers(path: Path, name: str, values: Any, axes: int) -> NDArray[np.int32]:
    """Return a list of numbers, or of lists of them."""
    try:
        found = np.array(values)
    except ValueError:  # rows of different lengths
        found = np.empty(0, object)
    if isinstance(values, list) and not values:
        return np.zeros((0,) * axes, np.int32)
    if found.ndim != axes or found.dtype.kind != "i" or found.min() < 0 or found.max() >= 1 << 31:
        shape = "numbers" if axes == 1 else "lists of three numbers"
        raise InputError(
            f"{path}: {name} must be a list of {shape}, each 0 to {(1 << 31) - 1}; see `qkloom "
            "cache --help`"
        )
    return found.astype(np.int32)
