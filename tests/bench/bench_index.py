"""Index calls of a whole kernel before HBM2: cycles beside their bound, and beside attention.

The bound is the longest of three: keys and queries over the bandwidth of the channels that they
are on; MACs of scores, and of all pairs of blocks, over MACs of the lanes; exponentials over row
units. The share of attention is against what its arrays need for the blocks that were selected,
counted and not measured: slots of MACs over those of the lanes.

Contexts of all families, longer ones, say how near what the kernel selects is to float64.
"""

from collections.abc import Iterator
from typing import Any

from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.gen.index.hardware import run_index
from qkloom.tb.exact import count_macs
from qkloom.tb.index.contexts import families, generate
from qkloom.tb.index.coverage import coverage
from qkloom.tb.index.disagree import disagreements
from qkloom.tb.index.exact import CoverageRule
from qkloom.tb.index.report import jaccard
from qkloom.tb.quantize import quantize
from qkloom.tb.tensors import Shape

CHIP, TOKENS = "u280-small", 4096
CASES = (("verticals", 8, 2, 64), ("needles", 8, 2, 64), ("mixed", 8, 8, 64), ("mixed", 8, 2, 128))
"""Family, heads, KV heads, head_dim."""

LONG = 8192
"""Tokens of contexts that are held against float64."""


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    description = read_chip(CHIP).replace(index="coverage")
    size, lanes, block = description.size, description.n_lanes, description.block
    beat = description.data_width // 8
    for family, heads, kv_heads, head_dim in CASES:
        context = generate(
            family, TOKENS, heads=heads, kv_heads=kv_heads, head_dim=head_dim, seed=1, block=block
        )
        operands = quantize(context.q, context.k, context.k, description.numerics)
        selecting, selected = run_index(
            description, operands, CoverageRule(), "cxxrtl", lambda step, share: None
        )
        assert selected.bit_exact
        channels = {name: len(numbers) for name, numbers in description.channels}
        pairs = heads * block * TOKENS
        macs = pairs * head_dim + heads * (TOKENS // block) ** 2 * head_dim
        bounds = {
            "memory": max(n / (beat * channels[name]) for name, n in selected.n_bytes.items()),
            "MACs": macs / (size**2 * lanes),
            "exponentials": pairs / (description.lane_parameters["row_width"] * lanes),
        }
        limit = max(bounds, key=lambda name: bounds[name])
        aware = sum(head.is_aware for head in selected.heads)
        name = f"{family}, {TOKENS:,} tokens, {heads} heads of {kv_heads}, head_dim {head_dim}"
        yield {
            "name": f"{name}: index call",
            "value": selected.cycles,
            "unit": "cycles",
            "asked": 1.1 * bounds[limit],
            "better": "less",
            "how": f"{CHIP}, its kernel and memory; {bounds[limit]:,.0f} by {limit}; {aware} heads "
            f"query-aware; {sum(selected.n_bytes.values()):,} bytes",
        }
        shape = Shape(1, heads, kv_heads, TOKENS, TOKENS, head_dim)
        counted = count_macs(
            shape,
            description.numerics,
            block_rows=block,
            causal=True,
            q_start=0,
            block_mask=selecting.masks[None],
        )
        attention = counted.slots / (size**2 * lanes)
        yield {
            "name": f"{name}: share of index and attention",
            "value": 100 * selected.cycles / (selected.cycles + attention),
            "unit": "%",
            "asked": None,
            "better": "less",
            "how": f"attention over the selected blocks: {attention:,.0f} cycles of full arrays, "
            "counted",
        }
    yield from _qualities(description)


def _qualities(description: ChipDescription) -> Iterator[dict[str, Any]]:
    """Yield how near selections are to those of float64, by the same rule."""
    block, rule = description.block, CoverageRule()
    for family in families():
        context = generate(family, LONG, heads=4, kv_heads=2, head_dim=64, seed=2, block=block)
        operands = quantize(context.q, context.k, context.k, description.numerics)
        selecting, selected = run_index(
            description, operands, rule, "cxxrtl", lambda step, share: None
        )
        assert selected.bit_exact
        q, k, _ = operands.floats()
        reference = coverage(q, k, block=block, **vars(rule))
        verdicts = [head.verdict for head in selecting.expected]
        listed = [
            one
            for verdict, head in zip(verdicts, reference, strict=True)
            for one in disagreements(verdict, head, rule.tau)
        ]
        pairs = zip(selected.masks, reference, strict=True)
        margin = max((one.margin for one in listed), default=0.0)
        aware = sum(head.is_aware for head in selected.heads)
        yield {
            "name": f"{family}, {LONG:,} tokens, 4 heads of 2: least Jaccard with float64",
            "value": min(jaccard(mask, head.mask) for mask, head in pairs),
            "unit": "",
            "asked": 0.9,
            "better": "more",
            "how": f"{CHIP} in RTL, every bit as its model; {aware} heads query-aware; "
            f"{len(listed)} disagreements, {margin:.1e} of the attention decides at most",
        }
