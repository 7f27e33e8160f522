"""The tables inside the description of a chip: lanes, softmax, memory, index, cache."""

from numbers import Number
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

__all__ = [
    "Cache",
    "EqualInteger",
    "Index",
    "IndexOrMethod",
    "LaneGroup",
    "Memory",
    "Softmax",
    "Table",
    "as_index",
]


class Table(BaseModel):
    """A table of a description: no key that is not known, no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _check_integer(value: Any) -> Any:
    """Refuse what merely equals an integer: a literal compares by value, and 8.0 equals 8."""
    if isinstance(value, Number) and not isinstance(value, int):
        raise PydanticCustomError("int_type", "must be an integer")
    return value


EqualInteger = BeforeValidator(_check_integer)
"""For choices of integers: the type counts, too."""


class LaneGroup(Table):
    """Lanes of one kind."""

    matrix: Literal["plain", "dsp", "lut"] = Field(
        description="What the multipliers are made of: `dsp` slices with two products each, `lut` "
        "tables of subset sums; `plain` leaves it to synthesis.",
        examples=["dsp"],
    )
    n: int = Field(ge=1, le=256, description="Number of lanes of this kind.", examples=[2])
    memory: Literal["auto", "ultra"] = Field(
        default="auto",
        description="What outputs are summed up in: `auto` leaves it to synthesis, `ultra` takes "
        "UltraRAM.",
    )
    runtime_precision: bool = Field(
        default=False,
        description="Of `lut` lanes: bits of queries and probabilities are fed one after the "
        "other, as many as a call has, in a cycle each. It takes a fifth of the tables.",
    )

    @property
    def kind(self) -> str:
        """What a core calls such a lane."""
        memory = [] if self.memory == "auto" else [self.memory]
        return "+".join([self.matrix, *["serial"] * self.runtime_precision, *memory])


class Softmax(Table):
    """The number formats between the two products."""

    p_width: int | None = Field(
        default=None,
        ge=4,
        le=16,
        description="Bits of a probability, 7 to 16, or 4 to 8 if `stream_width` is 4; above "
        "`stream_width` the second product takes two passes. Two if absent: 14, or 7.",
        examples=[14],
    )
    segments: Annotated[Literal[4, 8, 16, 32, 64], EqualInteger] = Field(
        default=8, description="Straight pieces that 2^-x is made of."
    )
    fraction: int = Field(default=10, ge=6, le=12, description="Fraction bits of a base-2 score.")


class Memory(Table):
    """The memory that tensors are in, as the kernel sees it."""

    channels: Annotated[Literal[1, 2, 4, 8, 16, 32], EqualInteger] = Field(
        default=4,
        description="AXI4 managers, each for a channel of memory; tensors are spread over them.",
    )
    data_width: Annotated[Literal[64, 128, 256, 512], EqualInteger] | None = Field(
        default=None,
        description="Bits that a channel moves in a cycle. 256 if absent, or as many as a small "
        "array's tile has.",
        examples=[256],
    )


Method = Literal["coverage", "forecast", "window", "dense"]


class Index(Table):
    """How the blocks of keys that each block of queries attends to are chosen."""

    method: Method = Field(
        default="dense",
        description="`coverage`: those that the last queries of a head attend to most; `forecast`: "
        "those that a vector of the layer before foretells; `window`: the first and the latest "
        "ones; `dense`: all.",
        examples=["coverage"],
    )
    gamma: float = Field(
        default=0.9,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the attention that is to be covered; with 1 every head is dense.",
    )
    tau: float = Field(
        default=0.1,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Divergence below which a head is query-aware; 0: never.",
    )
    min_budget: int = Field(
        default=1024,
        ge=0,
        le=1 << 20,
        description="Fewest tokens of block columns, and of diagonals.",
    )
    max_budget: int | None = Field(
        default=None,
        ge=1,
        le=1 << 20,
        description="Most tokens of block columns, and of diagonals. No limit if absent.",
        examples=[8192],
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        le=1 << 20,
        description="Longest sequence that is selected from. The chip's `tokens` if absent.",
        examples=[1024],
    )
    key_heads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Heads of keys of which the coverage unit makes averages at a time. As many as "
        "there are lanes if absent, 4 at most.",
        examples=[2],
    )
    heads_ahead: int | None = Field(
        default=None,
        ge=0,
        le=256,
        description="How many heads at a time have all their queries read before it is known "
        "whether they are query-aware. If absent, as many as there are lanes, and can be averaged "
        "while keys are scored.",
        examples=[4],
    )
    memory: Literal["auto", "ultra"] | None = Field(
        default=None,
        description="What the coverage unit's tables are kept in: `ultra`, UltraRAM; `auto`, what "
        "synthesis finds best. If absent, UltraRAM for long sequences on `ultrascale`.",
        examples=["ultra"],
    )
    top_k: int = Field(
        default=128, ge=1, le=128, description="Most blocks of 64 tokens that a forecast chooses."
    )
    init_blocks: int = Field(
        default=1, ge=0, le=128, description="First blocks, which are always taken."
    )
    local_blocks: int = Field(
        default=2,
        ge=0,
        le=127,
        description="Latest blocks, beside the query's own, which are always taken.",
    )


def as_index(value: Any) -> Any:
    """Return the table that a method's name alone stands for."""
    return {"method": value} if isinstance(value, str) else value


IndexOrMethod = Annotated[Index, BeforeValidator(as_index, json_schema_input_type=Index | Method)]
"""An index, or the name of its method and all else by default."""


class Cache(Table):
    """What is kept of the KV blocks that sparse attention takes; a block pair is a block's K and V.

    Without any block pair there is no cache, and KV blocks go from memory to the lanes.
    """

    policy: Literal["next-use", "liveness", "lru", "none"] = Field(
        default="next-use",
        description="What stays: `next-use`, blocks that come again first; `liveness`, what finds "
        "room, until its last job; `lru`, what was visited last; `none`, nothing.",
    )
    hot_blocks: int = Field(
        default=0,
        ge=0,
        le=1 << 16,
        description="Block pairs of the hot tier, for blocks with many jobs left.",
        examples=[256],
    )
    cold_blocks: int = Field(
        default=0,
        ge=0,
        le=1 << 16,
        description="Block pairs of the cold tier, for all others.",
        examples=[256],
    )
    hot_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Jobs above which a block is hot, as a share of the query blocks of a call.",
    )
    lookahead: int | None = Field(
        default=None,
        ge=1,
        le=1 << 16,
        description="Visits whose blocks are fetched ahead of their use. A sixteenth of all "
        "block pairs if absent, 8 at most.",
        examples=[8],
    )
    hot_memory: Literal["auto", "block", "ultra"] = Field(
        default="auto",
        description="What the hot tier is kept in: `block` RAM, `ultra`, UltraRAM, or `auto`, what "
        "synthesis finds best.",
    )
    cold_memory: Literal["auto", "block", "ultra"] = Field(
        default="auto", description="The same of the cold tier."
    )
    split: bool = Field(
        default=False,
        description="Whether each tier has a memory of its own; else they are quotas in one.",
    )
    window_slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Query blocks of each lane in a window, in which a KV block is served once. "
        "A lane holds twice as many, so that outputs leave meanwhile. One if absent.",
        examples=[1],
    )
    lane_blocks: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description="KV blocks that each lane has room for, so that lanes which need different "
        "ones do not wait for each other. Four if absent.",
        examples=[4],
    )

    @property
    def is_there(self) -> bool:
        """Whether there is a cache. With policy ``none`` it keeps nothing: a measure of others."""
        return self.hot_blocks + self.cold_blocks > 0

    @property
    def slots(self) -> int:
        """Block pairs of both tiers, none if nothing is kept."""
        return 0 if self.policy == "none" else self.hot_blocks + self.cold_blocks
