"""The tables inside the description of a chip: lanes, softmax, memory."""

from numbers import Number
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

__all__ = ["EqualInteger", "LaneGroup", "Memory", "Softmax", "Table"]


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
