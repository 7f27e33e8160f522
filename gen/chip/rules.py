"""Rules that several values of a description keep together."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from ...rtl.lane.numerics import Numerics
from ...rtl.stream.queue import MOST
from ..keywords import KEYWORDS, TAKEN
from ..mistakes import Mistake
from .defaults import WINDOW_SLOTS, default_data_width, default_p_width
from .tables import LaneGroup, as_index

__all__ = ["broken_rules", "flatten", "most_heads_ahead"]

_MOST_CHOSEN, _MOST_BLOCKS, _FORECAST_BLOCK = 128, 8192, 64
"""Of a forecast: blocks that it chooses, blocks that it chooses from, and tokens of one."""

_Rule = Callable[..., Mistake | None]
_RULES: list[_Rule] = []


def _rule(check: _Rule) -> _Rule:
    """Add a check of several values; its parameters name the values that it needs."""
    _RULES.append(check)
    return check


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a description and of the tables inside it, by their own names.

    Those of ``index`` and ``cache`` have the table's name in front: ``tokens`` is a chip's, too.
    """
    flat = dict(values)
    for name in ("softmax", "memory", "index", "cache"):
        table = values.get(name)
        if name == "index":
            table = as_index(table)
        inner = table.__dict__ if isinstance(table, BaseModel) else table
        if isinstance(inner, Mapping):
            flat |= {flat_name(name, key): value for key, value in inner.items()}
    return flat


def flat_name(table: str, key: str) -> str:
    """Return what a key of a table is called among all values."""
    return f"{table}_{key}" if table in ("index", "cache") else key


def broken_rules(values: Mapping[str, Any]) -> list[Mistake]:
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


@_rule
def _selections_are_taken(index_method: str, sparse: bool) -> Mistake | None:
    if sparse or index_method == "dense":
        return None
    return Mistake(
        "index.method",
        f'"{index_method}"',
        'must be "dense" of a chip whose calls take no selection',
        "add sparse = true, or leave index out",
    )


@_rule
def _budgets_agree(index_min_budget: int, index_max_budget: int | None) -> Mistake | None:
    if index_max_budget is None or index_max_budget >= index_min_budget:
        return None
    return Mistake(
        "index.max_budget",
        str(index_max_budget),
        f"must be at least min_budget, {index_min_budget}",
        f"use {index_min_budget} or more, or leave it out",
    )


@_rule
def _index_is_within(index_tokens: int | None, tokens: int) -> Mistake | None:
    if index_tokens is None or index_tokens <= tokens:
        return None
    return Mistake(
        "index.tokens",
        str(index_tokens),
        f"must be at most tokens, {tokens}, the longest sequence of the chip",
        f"use {tokens} or leave it out",
    )


@_rule
def _heads_ahead_are_scored(
    index_heads_ahead: int | None, lanes: tuple[LaneGroup | Mapping[str, Any], ...]
) -> Mistake | None:
    most = sum(group.n for group in map(LaneGroup.model_validate, lanes))
    if index_heads_ahead is None or index_heads_ahead <= most:
        return None
    return Mistake(
        "index.heads_ahead",
        str(index_heads_ahead),
        f"must be at most {most}, the lanes, which score a head each",
        f"use {most} or less, or leave it out",
    )


@_rule
def _heads_ahead_have_room(
    index_heads_ahead: int | None,
    index_tokens: int | None,
    tokens: int,
    block: int,
    head_dim: int,
    size: int,
) -> Mistake | None:
    most = most_heads_ahead(index_tokens or tokens, block, head_dim, size)
    if index_heads_ahead is None or index_heads_ahead <= most:
        return None
    return Mistake(
        "index.heads_ahead",
        str(index_heads_ahead),
        f"must be at most {most}, whose averages fit into a queue",
        f"use {most} or less, or leave it out",
    )


def most_heads_ahead(tokens: int, block: int, head_dim: int, size: int) -> int:
    """Return of how many heads a queue takes the averages of all queries."""
    return MOST // (-(-tokens // block) * -(-head_dim // size))


@_rule
def _coverage_has_blocks(index_method: str, block: int, size: int) -> Mistake | None:
    if index_method != "coverage" or block in (sizes := _block_sizes(size)):
        return None
    return Mistake(
        "block",
        str(block),
        f'must be a power of two from {sizes[0]} to 128 with index = "coverage", since blocks are '
        "counted in tiles and averaged by shifts",
        f"use {min(sizes, key=lambda allowed: abs(allowed - block))}, or another method",
    )


@_rule
def _coverage_has_equal_operands(
    index_method: str, stream_width: int, stationary_width: int
) -> Mistake | None:
    if index_method != "coverage" or stream_width == stationary_width:
        return None
    return Mistake(
        "index.method",
        '"coverage"',
        f"must be another one unless stream_width and stationary_width are equal, not "
        f"{stream_width} and {stationary_width}: averages of queries and of keys have one format",
        "use the same bits for both, or another method",
    )


@_rule
def _forecast_has_room(
    index_method: str, index_top_k: int, index_init_blocks: int, index_local_blocks: int
) -> Mistake | None:
    always = index_init_blocks + index_local_blocks + 1
    if index_method != "forecast" or always <= index_top_k:
        return None
    remedy = f"use {always} or more, or" if always <= _MOST_CHOSEN else "use"
    return Mistake(
        "index.top_k",
        str(index_top_k),
        f"must be at least {always}: init_blocks, local_blocks and the query's own block, which "
        "are always taken",
        f"{remedy} fewer init_blocks and local_blocks",
    )


@_rule
def _forecast_holds_blocks(
    index_method: str, index_tokens: int | None, tokens: int
) -> Mistake | None:
    n, most = index_tokens or tokens, _MOST_BLOCKS * _FORECAST_BLOCK
    if index_method != "forecast" or n <= most:
        return None
    return Mistake(
        "tokens" if index_tokens is None else "index.tokens",
        str(n),
        f'must be at most {most} with index = "forecast", which chooses from up to {_MOST_BLOCKS} '
        f"blocks of {_FORECAST_BLOCK} tokens",
        f"use index.tokens = {most} or less, or another method",
    )


@_rule
def _blocks_are_kept_of_selections(
    cache_hot_blocks: int, cache_cold_blocks: int, sparse: bool
) -> Mistake | None:
    slots = cache_hot_blocks + cache_cold_blocks
    if sparse or not slots:
        return None
    return Mistake(
        "cache." + ("hot_blocks" if cache_hot_blocks else "cold_blocks"),
        str(cache_hot_blocks or cache_cold_blocks),
        "must be 0 of a chip whose calls take no selection: what is kept follows from it",
        "add sparse = true, or leave cache out",
    )


@_rule
def _lookahead_has_slots(
    cache_lookahead: int | None, cache_hot_blocks: int, cache_cold_blocks: int
) -> Mistake | None:
    slots = cache_hot_blocks + cache_cold_blocks
    if cache_lookahead is None or not slots or cache_lookahead <= slots:
        return None
    return Mistake(
        "cache.lookahead",
        str(cache_lookahead),
        f"must be at most {slots}, hot_blocks and cold_blocks, since a block that is granted has a "
        "place",
        f"use {slots} or less, or leave it out",
    )


@_rule
def _a_cache_has_blocks(
    cache_policy: str, cache_hot_blocks: int, cache_cold_blocks: int, cache_lookahead: int | None
) -> Mistake | None:
    asks = cache_policy not in ("next-use", "none") or cache_lookahead is not None
    if cache_hot_blocks + cache_cold_blocks or not asks:
        return None
    return Mistake(
        "cache.cold_blocks",
        "0",
        "must be 1 or more, or hot_blocks, where there is to be a cache",
        "say how many block pairs it keeps, or leave the table out",
    )


@_rule
def _one_memory_is_of_one_kind(
    cache_split: bool, cache_hot_memory: str, cache_cold_memory: str
) -> Mistake | None:
    if cache_split or cache_hot_memory == cache_cold_memory:
        return None
    return Mistake(
        "cache.cold_memory",
        f'"{cache_cold_memory}"',
        f'must be hot_memory, "{cache_hot_memory}", unless split is true: tiers are quotas in one '
        "memory",
        f'use "{cache_hot_memory}", or add split = true',
    )


@_rule
def _split_tiers_are_two(
    cache_split: bool, cache_hot_blocks: int, cache_cold_blocks: int
) -> Mistake | None:
    if not cache_split or (cache_hot_blocks and cache_cold_blocks):
        return None
    return Mistake(
        "cache.split",
        "true",
        f"must be false unless both tiers have blocks, not {cache_hot_blocks} and "
        f"{cache_cold_blocks}",
        "use hot_blocks and cold_blocks of 1 or more, or leave split out",
    )


@_rule
def _window_is_in_lanes(cache_window_slots: int | None) -> Mistake | None:
    if cache_window_slots is None or cache_window_slots <= WINDOW_SLOTS:
        return None
    return Mistake(
        "cache.window_slots",
        str(cache_window_slots),
        f"must be at most {WINDOW_SLOTS}: a lane holds twice as many query blocks",
        f"use {WINDOW_SLOTS} or less, or leave it out",
    )


def _block_sizes(size: int) -> list[int]:
    """Return the blocks that a coverage unit may have, ascending."""
    return [block for block in (8, 16, 32, 64, 128) if block % size == 0]


def _divisor(value: int, size: int) -> int:
    """Return the largest power of two up to ``value`` that divides ``size``."""
    return min(1 << value.bit_length() - 1, size)


def _multiple(value: int, size: int) -> str:
    below, above = value // size * size, -(-value // size) * size
    return f"{below} or {above}" if below else str(above)
