"""What became of a call, as a number in a register."""

import enum

__all__ = ["Code"]


class Code(enum.IntEnum):
    """0 for a call that was computed, else what was wrong with it."""

    OK = 0
    HEADS = 1
    """Heads or KV heads are 0 or too many, or KV heads do not divide heads."""
    QUERIES = 2
    """``n_q`` is 0 or above the longest sequence."""
    KEYS = 3
    """``n_kv`` is 0 or above the longest sequence."""
    START = 4
    """``q_start`` is further from 0 than the longest sequence, or not 0 without causal."""
    HEAD_DIM = 5
    """``head_dim`` is 0, too large, or no multiple of the array's size."""
    BITS = 6
    """``query_bits`` is below 2 or above the operand's width."""
    ALIGNMENT = 7
    """A pointer is no multiple of a beat's bytes."""
    OVERLAP = 8
    """Outputs would be written over an input, or over each other."""
    KIND = 9
    """The flags ask for what this kernel does not do."""
    SLVERR = 16
    """A bus answered SLVERR."""
    DECERR = 17
    """A bus answered DECERR."""
    TIMEOUT = 18
    """Nothing moved for too long: a channel does not answer. Only a reset helps."""
