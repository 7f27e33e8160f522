"""The description of a chip: checked once, as a whole, with every mistake reported at once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from ...rtl.cache.visit import THRESHOLD_BITS, hot_above
from ...rtl.index.numerics import IndexNumerics
from ...rtl.lane.numerics import Numerics
from ...tb.errors import InputError
from ..mistakes import BrokenRulesError, Mistake, translate
from .defaults import (
    LANE_BLOCKS,
    LANE_SLOTS,
    MOST_WINDOWS,
    default_data_width,
    default_lookahead,
    default_out_width,
    default_p_width,
    default_row_width,
)
from .rules import broken_rules, flat_name, flatten, most_heads_ahead
from .tables import Cache, EqualInteger, Index, IndexOrMethod, LaneGroup, Memory, Softmax, Table

if TYPE_CHECKING:
    from ...tb.index.exact import CoverageRule

__all__ = ["ChipDescription", "check"]

_LONG = 256
"""Blocks of a sequence for which a table fills UltraRAM better than block RAM."""


class ChipDescription(Table):
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
    coverage_rule : CoverageRule
        What a coverage unit is asked for.
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
    size: Annotated[Literal[4, 8, 16, 32, 64], EqualInteger] = Field(
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
    stream_width: Annotated[Literal[4, 8], EqualInteger] = Field(
        default=8,
        description="Bits of what streams through the arrays: queries, digits of probabilities.",
    )
    stationary_width: Annotated[Literal[4, 8], EqualInteger] = Field(
        default=8, description="Bits of what the arrays hold: keys and values."
    )
    heads: int = Field(
        default=128, ge=1, le=4096, description="Most query heads of a call, batch included."
    )
    gemm: bool = Field(
        default=False,
        description="Lanes multiply matrices too: linear layers, int8 by int8 to int8.",
    )
    sparse: bool = Field(
        default=False,
        description="Attention calls may have a selection: which blocks of keys each block of "
        "queries attends to. Others are neither read nor computed.",
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
    index: IndexOrMethod = Field(
        default=Index(),
        description="How blocks of keys are chosen: a method's name, or a table.",
        examples=["coverage"],
    )
    cache: Cache = Field(
        default=Cache(), description="What is kept of the KV blocks that sparse attention takes."
    )

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        mistakes = broken_rules(flatten(self.__dict__))
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
            "slots": LANE_SLOTS,
            **self._lane_room,
            "stream_width": self.stream_width,
            "stationary_width": self.stationary_width,
            **({"gemm": True} if self.gemm else {}),
        }

    @property
    def _lane_room(self) -> dict[str, int]:
        """What lanes hold beside a cache: windows, one's outputs leaving, and whole KV blocks."""
        if not self.cache.is_there:
            return {}
        of = self._cache
        return {"slots": 2 * of["window_slots"], "kv_blocks": of["lane_blocks"]}

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
            **({"sparse": True} if self.sparse else {}),
            **self._index_parameters,
            **self._cache_parameters,
            **({"crossings": True} if self.is_spread else {}),
        }

    @property
    def _index_parameters(self) -> dict[str, Any]:
        """What makes the kernel select blocks by itself."""
        if self.index.method != "coverage":
            return {}
        of = self._index
        return {
            "index_tokens": of["tokens"],
            "key_heads": of["key_heads"],
            "heads_ahead": of["heads_ahead"],
            **({"index_memory": "ultra"} if of["memory"] == "ultra" else {}),
        }

    @property
    def _cache_parameters(self) -> dict[str, Any]:
        """What makes the kernel keep KV blocks."""
        if not self.cache.is_there:
            return {}
        of, keeps = self._cache, self.cache.policy != "none"
        return {
            "cache": (
                ("policy", of["policy"]),
                ("hot", of["hot_blocks"] if keeps else 0),
                ("cold", of["cold_blocks"] if keeps else 0),
                ("lookahead", of["lookahead"]),
                ("threshold", self._threshold),
                ("windows", self._windows),
                ("split", int(of["split"] and keeps)),
                ("hot_memory", of["hot_memory"]),
                ("cold_memory", of["cold_memory"]),
                ("per_lane", of["window_slots"]),
            )
        }

    @property
    def _windows(self) -> int:
        """Windows of a KV head that the cache tells apart: all heads may be of its group."""
        pairs = self.heads * -(-self.tokens // self.block)
        return min(-(-pairs // self.pairs_per_window), MOST_WINDOWS)

    @property
    def _threshold(self) -> int:
        """The share of query blocks above which a KV block is hot, as the hardware has it."""
        return round(self.cache.hot_threshold * (1 << THRESHOLD_BITS))

    @property
    def index_numerics(self) -> IndexNumerics:
        """Number formats of a coverage unit."""
        return IndexNumerics(lane=self.numerics, block=self.block, tokens=self._index["tokens"])

    @property
    def coverage_rule(self) -> "CoverageRule":
        """What a coverage unit is asked for."""
        from ...tb.index.exact import CoverageRule  # needs NumPy, which most commands do not

        names = ("gamma", "tau", "min_budget", "max_budget")
        return CoverageRule(**{name: getattr(self.index, name) for name in names})

    @property
    def _index(self) -> dict[str, Any]:
        """The index, derived values filled in."""
        tokens = self.index.tokens or self.tokens
        is_long = self.target == "ultrascale" and tokens >= _LONG * self.block
        averaged = self.block // self.size  # heads, in the time that one of their group is scored
        ahead = self.index.heads_ahead
        room = most_heads_ahead(tokens, self.block, self.head_dim, self.size)
        derived = {
            "tokens": tokens,
            "key_heads": self.index.key_heads or min(self.n_lanes, 4),
            "heads_ahead": min(self.n_lanes, averaged, room) if ahead is None else ahead,
            "memory": self.index.memory or ("ultra" if is_long else "auto"),
        }
        table = {**self.index.model_dump(), **derived}
        return {name: value for name, value in table.items() if value is not None}

    @property
    def pairs_per_window(self) -> int:
        """Pairs of a query block and a head that a window of block-major attention has."""
        return self.n_lanes * (self.cache.window_slots or 1)

    def hot_above(self, query_blocks: int) -> int:
        """Return the jobs left above which a KV block is hot, in a call of so many query blocks."""
        return hot_above(self._threshold, query_blocks)

    @property
    def _cache(self) -> dict[str, Any]:
        """The cache, derived values filled in."""
        of = self.cache
        derived = {
            "lookahead": of.lookahead or default_lookahead(of.slots),
            "window_slots": of.window_slots or 1,
            "lane_blocks": of.lane_blocks or LANE_BLOCKS,
        }
        return {**of.model_dump(), **derived}

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
        del tables["softmax"], tables["index"], tables["cache"]
        memory = {**tables.pop("memory"), "data_width": self.data_width}
        lanes = [dict(group) for group in tables.pop("lanes")]
        widths = {name: self.lane_parameters[name] for name in ("row_width", "out_width")}
        # Chips that choose no blocks, or keep none, stay as they are.
        index = {"index": self._index} if self.index != Index() else {}
        cache = {"cache": self._cache} if self.cache != Cache() else {}
        inner = {"softmax": self._softmax, "memory": memory, **index, **cache}
        return {**tables, **widths, "lanes": lanes, **inner}

    def replace(self, **changes: Any) -> "ChipDescription":
        """Return a variant with some keys changed, checked like any description."""
        return check({**self.model_dump(exclude_none=True), **changes}, "The variant")


_TABLES: dict[str, type[BaseModel]] = {
    "": ChipDescription,
    "lanes": LaneGroup,
    "softmax": Softmax,
    "memory": Memory,
    "index": Index,
    "cache": Cache,
}


def check(tables: dict[str, Any], origin: str) -> ChipDescription:
    """Make a description of tables that ``origin`` gave.

    Raises
    ------
    InputError
        With one line for every mistake.
    """
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
    wrong = {
        flat_name(str(detail["loc"][0]), str(name)) for detail in details for name in detail["loc"]
    }
    given = flatten(tables)
    known = {
        flat: given.get(flat, field.default)
        for table, model in _TABLES.items()
        if model is not LaneGroup
        for name, field in model.model_fields.items()
        for flat in [flat_name(table, name)]
        if flat not in wrong and (flat in given or field.default is not PydanticUndefined)
    }
    return [translate(detail, _TABLES) for detail in details] + broken_rules(known)
