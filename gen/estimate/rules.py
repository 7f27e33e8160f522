"""What Yosys makes of memories and products for UltraScale+: rules, without anything to fit.

They follow its descriptions of the memories (`share/xilinx/brams_xc4v.txt`, `lutrams_xcu.txt`,
`urams.txt`) and the costs of its pass `memory_libmap`, which takes what is cheapest.
"""

from collections import Counter
from dataclasses import dataclass

__all__ = ["Storage", "multiplier_slices", "storage_counts"]

# Bits side by side in a LUT memory of eight LUTs, by its depth: with one write and one read port,
# and with seven read ports.
_SIMPLE = {32: 14, 64: 7}
_LUTS, _LUT_COST = 8, 16

# Block memories of one write and one read port: width, depth, cost, units of 36 Kbit.
_BLOCKS = [
    *((36 >> k, 512 << k, 129, 0.5) for k in range(3)),
    *((72 >> k, 512 << k, 257, 1.0) for k in range(4)),
    *((width, 16384 // width, 129, 0.5) for width in (4, 2, 1)),
    *((width, 32768 // width, 257, 1.0) for width in (4, 2, 1)),
]
_MUX_COST = 0.5
_URAM_WIDTH, _URAM_DEPTH = 72, 4096

# Narrower products become LUTs (the options of mul2dsp in synth_xilinx).
_LEAST_OPERAND, _LEAST_PRODUCT = 2, 9
_MULTIPLIER = 27, 18


@dataclass(frozen=True)
class Storage:
    """A memory.

    Members
    -------
    width, depth : int
        Of a word, and words.
    grain : int
        Bits that can be written on their own; ``width`` if only the whole word.
    clocked_reads, free_reads : int
        Read ports with a clock, and without one.
    style : str
        What it is asked to be made of: ``ultra``, ``block``, ``distributed``, or empty.
    """

    width: int
    depth: int
    grain: int
    clocked_reads: int
    free_reads: int
    style: str = ""


def storage_counts(memory: Storage) -> Counter[str]:
    """Return what a memory costs, in the columns of a synthesis."""
    width, depth = memory.width, memory.depth
    reads = memory.clocked_reads + memory.free_reads
    if not reads or not width:
        return Counter()
    counts: Counter[str] = Counter()
    if width * depth <= 3:  # registers are cheaper
        return Counter({"ff": width * depth, "lut": width * depth + width})
    if memory.style == "ultra":
        counts["uram"] = reads * -(-_padded(memory, 9) // _URAM_WIDTH) * -(-depth // _URAM_DEPTH)
        return counts
    blocks, block_cost = _as_blocks(memory)
    deep = 32 if depth <= 32 else 64
    rows = -(-depth // deep)
    per_grain = -(-memory.grain // _SIMPLE[deep])
    grains = -(-width // memory.grain)
    lut_cost = reads * (
        _LUT_COST * grains * memory.grain / _SIMPLE[deep] * rows + _MUX_COST * width * (rows - 1)
    )
    as_block = memory.style == "block" or (
        memory.style != "distributed" and not memory.free_reads and block_cost < lut_cost
    )
    if as_block:
        counts["bram36"] = reads * blocks  # type: ignore[assignment]
        return counts
    rams = reads * per_grain * grains * rows * _LUTS
    select = reads * width * -(-(rows - 1) // 3) + grains * (rows if rows > 1 else 0)
    counts.update(lutram=rams, lut=rams + select, ff=memory.clocked_reads * width)
    return counts


def _as_blocks(memory: Storage) -> tuple[float, float]:
    """Return the cheapest block memories: how many, in units of 36 Kbit, and their cost."""
    best = 0.0, float("inf")
    for width, depth, cost, size in _BLOCKS:
        # A grain is a number of whole bytes of nine bits, or of words that are narrower.
        wide = -(-_padded(memory, min(width, 9)) // width)
        deep = -(-memory.depth // depth)
        total = cost * wide * deep + _MUX_COST * memory.width * (deep - 1)
        if total < best[1]:
            best = size * wide * deep, total
    return best


def _padded(memory: Storage, byte: int) -> int:
    """Return the bits of a word in which each grain begins a byte."""
    if memory.grain == memory.width:
        return memory.width
    return -(-memory.width // memory.grain) * -(-memory.grain // byte) * byte


def multiplier_slices(a: tuple[int, bool], b: tuple[int, bool], product: int) -> int:
    """Return the DSP slices of a product of operands of these widths, signed or not."""
    # The slice multiplies signed numbers: an unsigned one needs a bit more.
    wide, narrow = sorted((width + (not signed) for width, signed in (a, b)), reverse=True)
    if min(a[0], b[0]) < _LEAST_OPERAND or product < _LEAST_PRODUCT:
        return 0
    return -(-wide // _MULTIPLIER[0]) * -(-narrow // _MULTIPLIER[1])
