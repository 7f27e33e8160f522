"""Test vectors of a chip: calls in the memory of its kernel, and what the exact model says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...rtl.kernel.kernel import Kernel
from ...tb.deal import Call
from ...tb.gemm import Product, as_heads, exact_gemm
from ...tb.index.exact import CoverageRule
from ...tb.kernel.image import Bytes, Image, read_bytes, selection_rows, to_channels
from ...tb.kernel.index import record_of
from ...tb.kernel.product import best_side, place_product
from ...tb.kernel.task import place
from ...tb.quantize import encode_factor, quantize
from ..call import Prepared, prepare
from ..chip import ChipDescription
from ..index.hardware import head_result, prepare_index

__all__ = ["ChipVectors", "chip_vectors"]


@dataclass(frozen=True)
class ChipVectors:
    """Calls one after the other.

    Members
    -------
    calls : sequence of dict
        What the host writes into which register, for each call.
    before, after : list of uint8 array
        What each memory channel holds before the first call, and after the last. Whatever is no
        input or output is a guard.
    guard : int
        What a byte holds that is a guard.
    n_words : int
        Elements of output.
    max_cycles : int
        When to give up.
    """

    calls: Sequence[dict[str, int]]
    before: list[Bytes]
    after: list[Bytes]
    guard: int
    n_words: int
    max_cycles: int


class _Tensor(NamedTuple):
    """A tensor (heads, tokens, head_dim) in memory: its name, and how it lies there."""

    name: str
    x: NDArray[Any]
    width: int
    places: NDArray[np.int64] | None = None


class _Case(NamedTuple):
    """A call: its registers, tensors that are read, the one that is written, and bytes that are."""

    arguments: dict[str, int]
    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...]
    max_cycles: int
    content: tuple[tuple[int, Bytes], ...] = ()

    @property
    def n_words(self) -> int:
        """Elements of outputs, words of others."""
        sizes = [tensor.x.size for tensor in self.outputs]
        return sum(sizes) + sum(len(content) // 4 for _, content in self.content)


def chip_vectors(description: ChipDescription, kernel: Kernel, n: int) -> ChipVectors:
    """Return ``n`` calls on random tensors, the same in every run.

    Attention calls take turns: every lane once, or two query blocks; causal and not; keys and
    values in order, or where a block table says. Where calls may have a selection, every third one
    has, and on a chip that multiplies matrices, every third one is a product; where calls may
    select, every fifth one does. All are small, and more calls begin with the same ones.
    """
    image = Image(kernel.n_channels)
    cases = [_kind(kernel, case)(kernel, description, image, case) for case in range(n)]
    before = [np.empty(size, np.uint8) for size in image.sizes]
    image.write(before)
    guard = int(before[0][0])  # before the first buffer
    for case in cases:
        for tensor in case.inputs:
            for part, exists, _ in _parts(kernel, case, tensor, before):
                part[~exists] = guard  # nobody may look where a block has no tokens
    after = [part.copy() for part in before]
    for case in cases:
        for tensor in case.outputs:
            for part, exists, content in _parts(kernel, case, tensor, after):
                part[exists] = content[exists]
        for address, written in case.content:
            read_bytes(after, address, len(written))[:] = written
    return ChipVectors(
        calls=[case.arguments for case in cases],
        before=before,
        after=after,
        guard=guard,
        n_words=sum(case.n_words for case in cases),
        max_cycles=sum(case.max_cycles for case in cases),
    )


def _kind(kernel: Kernel, case: int) -> Callable[[Kernel, ChipDescription, Image, int], _Case]:
    """Return what makes a case."""
    if kernel.parameters["index_tokens"] and case % 5 == 4:
        return _index
    return _product if kernel.parameters["gemm"] and case % 3 == 2 else _attention


def _index(kernel: Kernel, description: ChipDescription, image: Image, case: int) -> _Case:
    """Place an index call of two heads over two blocks, one of which is query-aware."""
    rng = np.random.default_rng(case)
    size, block = description.size, description.block
    tokens = min(block + size // 2 + 1, kernel.parameters["index_tokens"])
    q, k = rng.standard_normal((2, 2, tokens, size))
    q *= np.array([1e-3, 8])[:, None, None]
    operands = quantize(q, k[:1], k[:1], description.numerics)
    call = Call(operands.q, operands.k, operands.k, operands.mantissa, operands.shift)
    selecting = prepare_index(description, kernel, call, CoverageRule(tau=0.3, min_budget=0))
    task = selecting.place(kernel, image)
    width = kernel.parameters["stream_width"]
    inputs = (
        _Tensor("q", call.q[:, -block:], width),
        _Tensor("k", call.k, width),
        _Tensor("v", call.q, width),
    )
    beat = description.data_width // 8
    rows = selection_rows(selecting.masks, task.row).reshape(-1, task.row)
    used = -(-selecting.masks.shape[-1] // (8 * beat)) * beat  # whole beats of a row
    content = [(task.selection + k * task.row, row[:used]) for k, row in enumerate(rows)]
    content += [
        (task.verdicts + k * task.record, record_of(head_result(made), task.record))
        for k, made in enumerate(selecting.expected)
    ]
    return _Case(task.arguments, inputs, (), selecting.cycle_limit, tuple(content))


def _attention(kernel: Kernel, description: ChipDescription, image: Image, case: int) -> _Case:
    prepared = _attention_call(description, case)
    places = _places(prepared, description.block, case) if case % 2 else None
    call, given = prepared.call, kernel.parameters
    task = place(kernel, call, image, places)
    output = np.zeros(call.q.shape, np.int64)  # head_dim is filled up to whole tiles
    expected = prepared.expected.reshape(*call.q.shape[:2], -1)
    output[..., : expected.shape[-1]] = expected
    inputs = (
        _Tensor("q", call.q, given["stream_width"]),
        _Tensor("k", call.k, given["stationary_width"], places),
        _Tensor("v", call.v, given["stationary_width"], places),
    )
    return _Case(task.arguments, inputs, (_Tensor("o", output, 32),), prepared.cycle_limit)


def _product(kernel: Kernel, description: ChipDescription, image: Image, case: int) -> _Case:
    """Place a product of two blocks of rows, three chunks and a group of channels for each lane."""
    rng = np.random.default_rng(case)
    size, groups = description.size, min(description.n_lanes, description.heads, 4)
    m = min(description.block + 3, description.tokens)
    k, n = min(3, description.heads) * size, groups * size
    x, w = (rng.integers(-128, 128, (rows, k)).astype(np.int8) for rows in (m, n))
    # A sum is 5,461 sqrt(k) in the mean square: most outputs are within the limits, some beyond.
    factors = rng.uniform(50, 100, groups) / (5461 * np.sqrt(k))
    mantissa, shift = np.array([encode_factor(factor, 13) for factor in factors]).T
    product = Product(x, w, mantissa, shift, head_dim=size)
    product = replace(product, side=best_side(kernel, product))
    task = place_product(kernel, product, image)
    inputs = (_Tensor("q", as_heads(x, size), 8), _Tensor("k", as_heads(w, size), 8))
    output = as_heads(exact_gemm(product, description.numerics), size)
    return _Case(task.arguments, inputs, (_Tensor("o", output, 8),), 10_000 + 64 * m * k)


def _parts(kernel: Kernel, case: _Case, tensor: _Tensor, memory: list[Bytes]) -> Any:
    """Yield of each channel: where a tensor lies, which bytes exist, and what they are."""
    channels, block = kernel.channels[tensor.name], kernel.parameters["block_rows"]
    contents, exist = (
        to_channels(
            x, block=block, n_channels=len(channels), width=tensor.width, places=tensor.places
        )
        for x in (tensor.x, np.full_like(tensor.x, -1))
    )
    for number, (content, exists) in enumerate(zip(contents, exist, strict=True)):
        address = case.arguments[f"{tensor.name}_{number}"]
        yield read_bytes(memory, address, len(content)), exists != 0, content


def _attention_call(description: ChipDescription, case: int) -> Prepared:
    """Return a small attention call that sees two KV blocks, where they fit."""
    rng = np.random.default_rng(case)
    block, tokens = description.block, description.tokens
    size: int = description.size
    if case % 2:
        heads, kv_heads, head_dim = 1, 1, size
        n_q, n_kv = min(block + 3, tokens), min(block + size // 2 + 1, tokens)
    else:
        heads = min(description.n_lanes, description.heads)
        kv_heads = 2 if case % 4 and heads % 2 == 0 else 1
        # Not a whole tile of the last elements, if there is another.
        head_dim = min(2 * size - case % 3, description.head_dim)
        n_q, n_kv = min(3, tokens), min(block + size // 2 + 1, tokens)
    q, k, v = (
        rng.standard_normal((n_heads, length, head_dim))
        for n_heads, length in ((heads, n_q), (kv_heads, n_kv), (kv_heads, n_kv))
    )
    # The flattest softmax, and ones so sharp that a new maximum clears the sums of before.
    q *= (8, 1, 32, 2)[case % 4]
    causal = case % 4 != 3
    mask = None
    if description.sparse and case % 3 == 1:
        mask = rng.random((heads, -(-n_q // block), -(-n_kv // block))) < 0.5
    q_start = max(n_kv - n_q, 0) * causal
    return prepare(description, q, k, v, causal=causal, q_start=q_start, block_mask=mask)


def _places(prepared: Prepared, block: int, case: int) -> NDArray[np.int64]:
    """Return places of KV blocks that are not in order, with a gap."""
    kv_heads, n_kv, _ = prepared.call.k.shape
    n_blocks = kv_heads * -(-n_kv // block)
    return np.random.default_rng(case).permutation(n_blocks + 1)[:n_blocks].astype(np.int64)
