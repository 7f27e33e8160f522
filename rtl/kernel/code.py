"""What became of a call, as a number in a register."""

import enum

__all__ = ["Code"]


class Code(enum.IntEnum):
    """0 for a call that was computed, else what was wrong with it; ``text`` says it in words."""

    OK = 0
    HEADS = 1
    QUERIES = 2
    KEYS = 3
    START = 4
    HEAD_DIM = 5
    BITS = 6
    ALIGNMENT = 7
    OVERLAP = 8
    KIND = 9
    CHUNKS = 10
    RULE = 11
    SLVERR = 16
    DECERR = 17
    TIMEOUT = 18
    CHANGED = 19

    @property
    def text(self) -> str:
        """The code in words."""
        return f"code {self.value}, {self.name}: {self.meaning}"

    @property
    def meaning(self) -> str:
        """What was wrong."""
        return _TEXTS[self]


_TEXTS = {
    Code.OK: "the call was computed",
    Code.HEADS: "heads or KV heads are 0 or too many, or KV heads do not divide heads",
    Code.QUERIES: "n_q is 0, above the longest sequence, or above a block in an index call",
    Code.KEYS: "n_kv is 0, above the longest sequence, or not heads * head_dim of a product",
    Code.START: "q_start is beyond the longest sequence, not 0 without causal, or not n_kv - n_q "
    "of an index call",
    Code.HEAD_DIM: "head_dim is 0, too large, no multiple of the array's size, or of a product "
    "above a block",
    Code.BITS: "query_bits is below 2 or above the operand's width",
    Code.ALIGNMENT: "a pointer is no multiple of a beat's bytes",
    Code.OVERLAP: "outputs would be written over an input, or over each other",
    Code.KIND: "the flags ask for what this kernel does not do",
    Code.CHUNKS: "chunks of a product are 0, or more than there can be heads",
    Code.RULE: "gamma of an index call is above 1, or its budgets contradict or exceed the blocks",
    Code.SLVERR: "a bus answered SLVERR",
    Code.DECERR: "a bus answered DECERR",
    Code.TIMEOUT: "nothing moved for too long: a channel does not answer; only a reset helps",
    Code.CHANGED: "the selection was another one when it was read again, during the call; only a "
    "reset helps",
}
