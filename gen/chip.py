"""The description of a chip: checked once, as a whole, with every mistake reported at once."""

import inspect
import tomllib
from collections.abc import Callable, Mapping
from numbers import Number
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticUndefined

from ..rtl.formats import ceil_log2
from ..rtl.lane.numerics import Numerics
from ..tb.errors import InputError
from .keywords import KEYWORDS, TAKEN
from .mistakes import BrokenRulesError, Mistake, suggestion, translate

__all__ = [
    "PRESETS",
    "ChipDescription",
    "LaneGroup",
    "Memory",
    "Softmax",
    "default_data_width",
    "default_out_width",
    "default_p_width",
    "default_row_width",
    "preset_names",
    "read_chip",
]

PRESETS = Path(__file__).parent / "presets"
"""Folder of the named descriptions."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _check_integer(value: Any) -> Any:
    """Refuse what merely equals an integer: a literal compares by value, and 8.0 equals 8."""
    if isinstance(value, Number) and not isinstance(value, int):
        raise PydanticCustomError("int_type", "must be an integer")
    return value


_Integer = BeforeValidator(_check_integer)


class LaneGroup(_Table):
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


class Softmax(_Table):
    """The number formats between the two products."""

    p_width: int | None = Field(
        default=None,
        ge=4,
        le=16,
        description="Bits of a probability, 7 to 16, or 4 to 8 if `stream_width` is 4; above "
        "`stream_width` the second product takes two passes. Two if absent: 14, or 7.",
        examples=[14],
    )
    segments: Annotated[Literal[4, 8, 16, 32, 64], _Integer] = Field(
        default=8, description="Straight pieces that 2^-x is made of."
    )
    fraction: int = Field(default=10, ge=6, le=12, description="Fraction bits of a base-2 score.")


class Memory(_Table):
    """The memory that tensors are in, as the kernel sees it."""

    channels: Annotated[Literal[1, 2, 4, 8, 16, 32], _Integer] = Field(
        default=4,
        description="AXI4 managers, each for a channel of memory; tensors are spread over them.",
    )
    data_width: Annotated[Literal[64, 128, 256, 512], _Integer] | None = Field(
        default=None,
        description="Bits that a channel moves in a cycle. 256 if absent, or as many as a small "
        "array's tile has.",
        examples=[256],
    )


class ChipDescription(_Table):
    """A chip: its lanes, their array, and the largest problem that they take.

    Members
    -------
    numerics : Numerics
        Number formats of a lane, with every derived width.
    identifier : str
        Name of the top module.
    n_lanes : int
        Lanes of all groups.
    peak_tops : float
        Peak of integer operations, 10^12 a second: two per multiplier and cycle.
    """

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]*$",
        max_length=64,
        description="Name of the chip; files and the top module are called after it.",
        examples=["mine"],
    )
    description: str = Field(default="", description="One line on what the chip is for.")
    clock_mhz: float = Field(
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="Clock that figures are given at.",
        examples=[175.0],
    )
    target: Literal["generic", "ultrascale"] = Field(
        default="generic",
        description="Whose primitives the Verilog is made of; `generic` needs none.",
    )
    cores: int = Field(
        default=1, ge=1, le=1, description="Cores; one core holds any number of lanes."
    )
    lanes: Annotated[tuple[LaneGroup, ...], Field(strict=False)] = Field(
        min_length=1, description="Groups of equal lanes.", examples=[[{"matrix": "plain", "n": 2}]]
    )
    size: Annotated[Literal[4, 8, 16, 32, 64], _Integer] = Field(
        description="Rows and columns of a lane's array. It is square: the tile of keys that "
        "leaves the first product is the tile that enters the second.",
        examples=[8],
    )
    block: int = Field(
        ge=4,
        le=1024,
        description="Tokens of a block, and the most query rows of a job; a multiple of `size`.",
        examples=[16],
    )
    head_dim: int = Field(
        ge=4,
        le=256,
        description="Largest head dimension; a multiple of `size`. Smaller ones run too.",
        examples=[64],
    )
    tokens: int = Field(ge=1, le=1 << 20, description="Longest sequence of keys.", examples=[1024])
    stream_width: Annotated[Literal[4, 8], _Integer] = Field(
        default=8,
        description="Bits of what streams through the arrays: queries, digits of probabilities.",
    )
    stationary_width: Annotated[Literal[4, 8], _Integer] = Field(
        default=8, description="Bits of what the arrays hold: keys and values."
    )
    heads: int = Field(
        default=128, ge=1, le=4096, description="Most query heads of a call, batch included."
    )
    gemm: bool = Field(
        default=False,
        description="Lanes multiply matrices too: linear layers, int8 by int8 to int8.",
    )
    row_width: int | None = Field(
        default=None,
        ge=1,
        description="Scores that the row unit takes in a cycle; divides `size`. Derived if absent.",
        examples=[2],
    )
    out_width: int | None = Field(
        default=None,
        ge=1,
        description="Outputs that leave a lane in a cycle; divides `size`. Derived if absent.",
        examples=[1],
    )
    acc_width: int | None = Field(
        default=None,
        ge=1,
        description="Bits that the output accumulator may have. The hardware has what the longest "
        "sequence needs; a description that needs more than this is refused.",
        examples=[40],
    )
    softmax: Softmax = Softmax()
    memory: Memory = Memory()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        mistakes = _broken_rules(_flatten(self.__dict__))
        if mistakes:
            raise BrokenRulesError(mistakes)
        return self

    @property
    def _softmax(self) -> dict[str, int]:
        """The softmax, derived values filled in."""
        p_width = self.softmax.p_width or default_p_width(self.stream_width)
        return {**self.softmax.model_dump(), "p_width": p_width}

    @property
    def numerics(self) -> Numerics:
        """Number formats of a lane."""
        return Numerics(
            size=self.size,
            head_dim=self.head_dim,
            tokens=self.tokens,
            **self._softmax,
            stream_width=self.stream_width,
            stationary_width=self.stationary_width,
        )

    @property
    def matrices(self) -> tuple[str, ...]:
        """What a core calls each of its lanes, in order."""
        return tuple(group.kind for group in self.lanes for _ in range(group.n))

    @property
    def identifier(self) -> str:
        """Name of the top module."""
        return self.name.replace("-", "_")

    @property
    def n_lanes(self) -> int:
        """Lanes of all groups."""
        return len(self.matrices)

    @property
    def peak_tops(self) -> float:
        """Peak of integer operations, 10^12 a second: two per multiplier and cycle.

        With runtime precision, at the full ``stream_width``.
        """
        lanes = sum(
            group.n / (self.stream_width if group.runtime_precision else 1) for group in self.lanes
        )
        return 2 * self.size**2 * lanes * self.cores * self.clock_mhz * 1e6 / 1e12

    @property
    def has_runtime_precision(self) -> bool:
        """Whether any lane has."""
        return any(group.runtime_precision for group in self.lanes)

    @property
    def lane_parameters(self) -> dict[str, Any]:
        """Keyword parameters that every lane has, derived ones resolved."""
        return {
            "size": self.size,
            "block_rows": self.block,
            "head_dim": self.head_dim,
            "tokens": self.tokens,
            **self._softmax,
            "row_width": self.row_width or default_row_width(self.size, self.numerics.digits),
            "out_width": self.out_width
            or default_out_width(self.size, self.block, self.numerics.digits, self.gemm),
            "slots": 2,  # one query block's output leaves while the next one is computed
            "stream_width": self.stream_width,
            "stationary_width": self.stationary_width,
            **({"gemm": True} if self.gemm else {}),
        }

    @property
    def is_spread(self) -> bool:
        """Whether lanes are placed on several dies: with three and more, on UltraScale+."""
        return self.target == "ultrascale" and self.n_lanes > 2

    @property
    def channels(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Memory channels of each tensor: a quarter of them each, or what there is."""
        n = self.memory.channels
        if n < 4:
            parts: dict[str, tuple[int, ...]] = {"q": (0,), "k": (0,), "v": (n - 1,), "o": (n - 1,)}
        else:
            quarter = n // 4
            order = {"k": 0, "v": 1, "q": 2, "o": 3}
            parts = {
                name: tuple(range(order[name] * quarter, (order[name] + 1) * quarter))
                for name in ("q", "k", "v", "o")
            }
        return tuple(parts.items())

    @property
    def data_width(self) -> int:
        """Bits that a channel of memory moves in a cycle."""
        return self.memory.data_width or default_data_width(
            self.size, self.stream_width, self.stationary_width
        )

    @property
    def kernel_parameters(self) -> dict[str, Any]:
        """Keyword parameters of the kernel."""
        return {
            "lanes": self.matrices,
            **self.lane_parameters,
            "heads": self.heads,
            "channels": self.channels,
            "data_width": self.data_width,
            **({"crossings": True} if self.is_spread else {}),
        }

    @property
    def derived(self) -> dict[str, int]:
        """Numbers of the hardware that follow from the description."""
        numerics = self.numerics
        names = ("score_width", "x_width", "p_max", "digits", "sum_width", "acc_width", "out_width")
        return {name: getattr(numerics, name) for name in names}

    @property
    def figures(self) -> dict[str, Any]:
        """Key figures."""
        return {"n_lanes": self.n_lanes, "peak_tops": self.peak_tops}

    def to_toml(self) -> str:
        """Return the resolved description as TOML, with what follows from it as comments."""
        facts = {**self.derived, **self.figures}
        notes = "".join(f"# {name} = {value}\n" for name, value in facts.items())
        return f"{tomli_w.dumps(self.resolved())}\n# What follows from it:\n{notes}"

    def resolved(self) -> dict[str, Any]:
        """Return the description as plain tables, derived values filled in."""
        tables = self.model_dump(exclude_none=True)
        del tables["softmax"]
        memory = {**tables.pop("memory"), "data_width": self.data_width}
        lanes = [dict(group) for group in tables.pop("lanes")]
        widths = {name: self.lane_parameters[name] for name in ("row_width", "out_width")}
        return {**tables, **widths, "lanes": lanes, "softmax": self._softmax, "memory": memory}

    def replace(self, **changes: Any) -> "ChipDescription":
        """Return a variant with some keys changed, checked like any description."""
        return _check({**self.model_dump(exclude_none=True), **changes}, "The variant")


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


def preset_names() -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_chip(source: str | Path | Mapping[str, Any]) -> ChipDescription:
    """Read and check a description.

    Parameters
    ----------
    source : str, path or mapping
        Name of a preset, path of a TOML file, or the tables themselves.

    Raises
    ------
    InputError
        With one line for every mistake.
    """
    if isinstance(source, Mapping):
        return _check(dict(source), "The description")
    if not isinstance(source, str | Path):
        raise TypeError(
            f"A chip must be a preset's name, a path of a .toml file or a mapping, not {source!r}"
        )
    path = PRESETS / f"{source}.toml"
    if str(source) not in preset_names():
        path = Path(source)
        if path.suffix != ".toml" and not path.is_file():
            raise InputError(
                f"{str(source)!r} is neither a preset nor a .toml file; presets are "
                f"{', '.join(preset_names())}{suggestion(str(source), preset_names())}"
            )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} must be a readable file: {error.strerror}; "
            f"presets are {', '.join(preset_names())}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} must be TOML in UTF-8: {error}") from None
    return _check(tables, str(path))


_TABLES: dict[str, type[BaseModel]] = {
    "": ChipDescription,
    "lanes": LaneGroup,
    "softmax": Softmax,
    "memory": Memory,
}

_Rule = Callable[..., Mistake | None]
_RULES: list[_Rule] = []


def _rule(check: _Rule) -> _Rule:
    """Add a check of several values; its parameters name the values that it needs."""
    _RULES.append(check)
    return check


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(values)
    for name in ("softmax", "memory"):
        table = values.get(name)
        flat |= table.__dict__ if isinstance(table, BaseModel) else table or {}
    return flat


def _broken_rules(values: Mapping[str, Any]) -> list[Mistake]:
    """Check the rules whose values are all there."""
    found = []
    for check in _RULES:
        names = list(inspect.signature(check).parameters)
        if all(name in values for name in names):
            found.append(check(**{name: values[name] for name in names}))
    return [mistake for mistake in found if mistake is not None]


@_rule
def _name_is_free(name: str) -> Mistake | None:
    identifier = name.replace("-", "_")
    if identifier not in KEYWORDS | TAKEN:
        return None
    owner = "a reserved word of Verilog" if identifier in KEYWORDS else "a name that qkloom uses"
    return Mistake("name", f'"{name}"', f"must not be {owner}, {identifier}", f"use my-{name}")


@_rule
def _tables_have_planes(lanes: tuple[LaneGroup | Mapping[str, Any], ...]) -> Mistake | None:
    for number, group in enumerate(map(LaneGroup.model_validate, lanes)):
        if group.runtime_precision and group.matrix != "lut":
            return Mistake(
                f"lanes[{number}].runtime_precision",
                "true",
                f'must be false of lanes with matrix = "{group.matrix}", which take all bits of '
                "an operand at once",
                'use matrix = "lut", or leave it out',
            )
    return None


@_rule
def _block_holds_tiles(block: int, size: int) -> Mistake | None:
    if block % size == 0:
        return None
    return Mistake(
        "block",
        str(block),
        f"must be a multiple of size, {size}, since keys are taken {size} at a time",
        f"use {_multiple(block, size)}",
    )


@_rule
def _head_dim_tiles(head_dim: int, size: int) -> Mistake | None:
    if head_dim % size == 0:
        return None
    return Mistake(
        "head_dim",
        str(head_dim),
        f"must be a multiple of size, {size}, since the lane tiles it by its {size} x {size} array",
        f"use {_multiple(head_dim, size)} (smaller heads are padded with zeros)",
    )


@_rule
def _tiles_are_beats(
    data_width: int | None, size: int, stream_width: int, stationary_width: int
) -> Mistake | None:
    width = min(stream_width, stationary_width)
    tile = size * size * width
    if data_width is None or tile % data_width == 0:
        return None
    return Mistake(
        "memory.data_width",
        str(data_width),
        f"must divide the {tile} bits of a tile of {size} x {size}, which is read in whole beats",
        f"use {default_data_width(size, stream_width, stationary_width)} or leave it out",
    )


@_rule
def _row_width_divides(row_width: int | None, size: int) -> Mistake | None:
    if row_width is None or size % row_width == 0:
        return None
    return Mistake(
        "row_width",
        str(row_width),
        f"must divide size, {size}, since the row unit takes a tile's row in equal parts",
        f"use {_divisor(row_width, size)} or leave it out",
    )


@_rule
def _out_width_divides(out_width: int | None, size: int) -> Mistake | None:
    if out_width is None or size % out_width == 0:
        return None
    return Mistake(
        "out_width",
        str(out_width),
        f"must divide size, {size}, since a tile's row leaves in equal parts",
        f"use {_divisor(out_width, size)} or leave it out",
    )


@_rule
def _words_of_products_divide(gemm: bool, out_width: int | None, size: int) -> Mistake | None:
    if not gemm or out_width is None or out_width <= size // 4:
        return None
    return Mistake(
        "out_width",
        str(out_width),
        f"must be at most {size // 4} with gemm, a quarter of size, since four outputs of a "
        "product are a word",
        f"use {size // 4} or leave it out",
    )


@_rule
def _products_are_of_bytes(gemm: bool, stream_width: int, stationary_width: int) -> Mistake | None:
    if not gemm or stream_width == stationary_width == 8:
        return None
    return Mistake(
        "gemm",
        "true",
        f"must be false unless stream_width and stationary_width are 8, not {stream_width} and "
        f"{stationary_width}: outputs of a product are the int8 operands of the next one",
        "use 8 bits for both, or leave gemm out",
    )


@_rule
def _tiles_of_products_are_counted(gemm: bool, block: int, size: int) -> Mistake | None:
    n = max(block // size, 1)
    if not gemm or not n & n - 1:
        return None
    least, most = (size << n.bit_length() - more for more in (1, 0))
    return Mistake(
        "block",
        str(block),
        f"must be size, {size}, times a power of two with gemm, since tiles of channels are "
        "counted in it",
        f"use {least} or {most}, or leave gemm out",
    )


@_rule
def _accumulator_holds_products(
    gemm: bool, heads: int, head_dim: int, block: int, tokens: int, p_width: int | None
) -> Mistake | None:
    bits = p_width or default_p_width(8)
    depth, most = heads * min(head_dim, block), tokens << max(bits - 7, 0)
    if not gemm or depth < most:
        return None
    return Mistake(
        "gemm",
        "true",
        f"must be false if heads times head_dim, {depth}, is not below {most}, up to which the "
        f"accumulators for {tokens} tokens hold the sums of a product",
        "use fewer heads, or leave gemm out",
    )


@_rule
def _probability_suits(p_width: int | None, stream_width: int) -> Mistake | None:
    widths = Numerics.p_widths(stream_width)
    if p_width is None or p_width in widths:
        return None
    return Mistake(
        "softmax.p_width",
        str(p_width),
        f"must be {widths[0]} to {widths[-1]}, since its digits have stream_width, "
        f"{stream_width}, bits",
        f"use {stream_width} for one pass, {default_p_width(stream_width)} for two and more "
        "accuracy, or leave it out",
    )


@_rule
def _accumulator_holds(
    acc_width: int | None,
    tokens: int,
    p_width: int | None,
    stream_width: int,
    stationary_width: int,
) -> Mistake | None:
    p_width = p_width or default_p_width(stream_width)
    needed = _acc_width(tokens, p_width, stationary_width)
    if acc_width is None or acc_width >= needed:
        return None
    spare = acc_width - _acc_width(1, p_width, stationary_width)
    fewer = f" or at most {1 << spare} tokens" if spare >= 0 else ""
    return Mistake(
        "acc_width",
        str(acc_width),
        f"must be at least {needed}, to sum {tokens} values times {p_width}-bit probabilities",
        f"use {needed}{fewer}, or leave it out",
    )


def _acc_width(tokens: int, p_width: int, stationary_width: int) -> int:
    """Return the accumulator's width, which no other parameter changes."""
    return Numerics(
        size=1,
        head_dim=1,
        tokens=tokens,
        p_width=p_width,
        stream_width=8 if p_width in Numerics.p_widths(8) else 4,
        stationary_width=stationary_width,
    ).acc_width


def _check(tables: dict[str, Any], origin: str) -> ChipDescription:
    try:
        return ChipDescription.model_validate(tables)
    except ValidationError as error:
        mistakes = _mistakes(error, tables)
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    lines = "".join(f"\n  {mistake}" for mistake in mistakes)
    raise InputError(f"{origin} has {count}:{lines}")


def _mistakes(error: ValidationError, tables: Mapping[str, Any]) -> list[Mistake]:
    """Translate a validation error, and check the rules of the values that it leaves."""
    # A list of which every entry is wrong counts as empty too: the entries say enough.
    details = [
        detail
        for detail in error.errors(include_url=False)
        if detail["type"] != "too_short" or not detail["input"]
    ]
    for detail in details:
        broken = detail.get("ctx", {}).get("error")
        if isinstance(broken, BrokenRulesError):
            return broken.mistakes
    wrong = {str(name) for detail in details for name in detail["loc"]}
    inner = [tables.get(name, {}) for name in ("softmax", "memory")]
    given = dict(tables)
    for table in inner:
        given |= table if isinstance(table, Mapping) else {}
    known = {
        name: given.get(name, field.default)
        for table in (ChipDescription, Softmax, Memory)
        for name, field in table.model_fields.items()
        if name not in wrong and (name in given or field.default is not PydanticUndefined)
    }
    return [translate(detail, _TABLES) for detail in details] + _broken_rules(known)


def _divisor(value: int, size: int) -> int:
    """Return the largest power of two up to ``value`` that divides ``size``."""
    return min(1 << value.bit_length() - 1, size)


def _multiple(value: int, size: int) -> str:
    below, above = value // size * size, -(-value // size) * size
    return f"{below} or {above}" if below else str(above)
