"""What a description may leave out: widths that follow from the array's size."""

from ...rtl.formats import ceil_log2

__all__ = [
    "LANE_BLOCKS",
    "LANE_SLOTS",
    "MOST_WINDOWS",
    "WINDOW_SLOTS",
    "default_data_width",
    "default_lookahead",
    "default_out_width",
    "default_p_width",
    "default_row_width",
]

LANE_SLOTS = 2
"""Query blocks that a lane holds: one's output leaves while the next one is computed."""


WINDOW_SLOTS = 4
"""Most query blocks of a lane in a window; as many more leave meanwhile."""

MOST_WINDOWS = 1024
"""Windows of a KV head that a cache tells apart at most: a bit each, for each KV block."""

LANE_BLOCKS = 4
"""KV blocks that a lane has room for beside a cache. Four lanes with query blocks that need a fifth
of all blocks, at random, are busy for 65, 87, 97 and 99.5 % of the time with room for 1 to 4."""


def default_data_width(size: int, stream_width: int, stationary_width: int) -> int:
    """Return the bits of a beat of which a tile is a whole number, 256 at most."""
    return min(256, size * size * min(stream_width, stationary_width))


def default_p_width(stream_width: int) -> int:
    """Return the bits of a probability that makes two digits of ``stream_width`` bits, signed."""
    return 14 if stream_width == 8 else 7


def default_row_width(size: int, digits: int) -> int:
    """Return the scores a cycle that never make an array of ``size`` wait.

    A row of a score tile is ``size`` scores, and takes the array ``head_dim / size`` cycles for the
    scores and as many for each digit of its probabilities; a quarter more is room for the ends of a
    step. Heads of 32 are the smallest to keep up with, and of 64 for arrays above 16, made for
    larger models.
    """
    smallest_head_dim = 32 if size <= 16 else 64
    least = -(-5 * size * size // (4 * smallest_head_dim * (1 + digits)))
    return min(1 << ceil_log2(least), size)


def default_out_width(size: int, block: int, digits: int, gemm: bool = False) -> int:
    """Return the outputs a cycle that leave as fast as query blocks of one KV block are done.

    Such a block has ``block`` outputs for each ``block / size`` steps of ``1 + digits`` passes over
    as many rows. Outputs are read while the array does not add to others: in the time of the first
    product, and with two digits in every second cycle of the others. A lane that multiplies
    matrices too has more, since nothing runs beside the outputs of its last block: four, which are
    as many bits as one enable should reach.
    """
    least = -(-size * size // (digits * block))
    widest = size // 4 if gemm else size
    return min(max(1 << ceil_log2(least), 4 if gemm else 1), widest)


def default_lookahead(slots: int) -> int:
    """Return the visits that a cache of so many slots grants ahead: a sixteenth of them, up to 8.

    What is granted cannot leave; with 16 of 128 slots that alone costs 5 % more bytes.
    """
    return min(max(slots // 16, 1), 8)
