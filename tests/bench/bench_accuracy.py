"""Accuracy of the lane's arithmetic against float64 attention on the same int8 inputs.

Real tensors are layer 0 of MiniLM, all heads, causal and not. Generated ones are long: the last
queries of a causal sequence against all of its keys. *Even* attention has normal scores; *peaky*
attention has normal scores with a standard deviation of 4, so that a handful of keys holds most of
a row; with *sinks*, the first four keys score 8 above the others on average and have a tenth of
their values, as in language models.
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.attention import attention, compare
from qkloom.tb.exact import exact_attention
from qkloom.tb.quantize import quantize
from qkloom.tb.tensors import default_tensors

P_WIDTHS = (7, 8, 10, 12, 14, 15, 16)
SEGMENTS = (8, 16, 32)
FRACTIONS = (8, 10, 12)
ASKED_RMS = 1e-3
ASKED_MAX = 0.1
"""In units of the values' last place: a tenth of what the int8 inputs themselves are good for."""

QUERIES, BLOCK = 64, 128


@dataclass(frozen=True)
class Case:
    """Tensors, how they attend, and what float64 makes of them."""

    group: str
    tensors: tuple[np.ndarray, np.ndarray, np.ndarray]
    reference: np.ndarray
    causal: bool
    q_start: int

    def measure(self, numerics: Numerics) -> tuple[float, float]:
        """Return RMS relative error and largest error (in int8 places of V), of the worst head."""
        o = quantize(*self.tensors, numerics)
        raw = exact_attention(
            *(o.q, o.k, o.v, o.mantissa, o.shift, numerics),
            block_rows=BLOCK,
            causal=self.causal,
            q_start=self.q_start,
        )
        output = o.dequantize(raw)
        errors = [compare(*pair) for pair in zip(output, self.reference, strict=True)]
        places = [e.max_abs / scale for e, scale in zip(errors, o.v_scale, strict=True)]
        return max(e.rms_relative for e in errors), float(max(places))


def case(group: str, tensors: tuple, *, causal: bool, q_start: int = 0) -> Case:
    """Return a case with its reference, which no setting of the lane changes."""
    o = quantize(*tensors, numerics(tensors[0].shape[-1]))
    reference = attention(*o.floats(), causal=causal, q_start=q_start)
    return Case(group, tensors, reference, causal, q_start)


def numerics(head_dim: int, **setting: int) -> Numerics:
    """Return the numbers of a 32 x 32 lane."""
    return Numerics(size=32, head_dim=head_dim, tokens=1 << 15, **setting)


def generate(family: str, n_tokens: int, head_dim: int) -> tuple:
    """Return the last queries of a sequence, and all of its keys and values."""
    rng = np.random.default_rng(n_tokens + head_dim)
    q = rng.normal(size=(1, QUERIES, head_dim))
    k, v = rng.normal(size=(2, 1, n_tokens, head_dim))
    if family == "peaky":
        q *= 4
    if family == "sinks":
        # Queries share a direction which no key has but the sinks.
        shared = np.full(head_dim, head_dim**-0.5)
        q += 4 * shared
        k -= (k @ shared)[..., None] * shared
        k[:, :4] = 8 * head_dim**0.5 / 4 * shared
        v[:, :4] /= 10
    return q, k, v


def cases() -> list[Case]:
    """Return everything that a setting is measured on."""
    real = [
        case(f"real, {n} tokens", default_tensors().take_tokens(n), causal=causal)
        for n in (27, 128, 512)
        for causal in (False, True)
    ]
    return real + [
        case(
            f"{family}, {n >> 10}K tokens",
            generate(family, n, head_dim),
            causal=True,
            q_start=n - QUERIES,
        )
        for family in ("even", "peaky", "sinks")
        for n in (1 << 13, 1 << 15)
        for head_dim in (64, 128)
    ]


def measure(all_cases: list[Case], **setting: int) -> dict[str, tuple[float, float]]:
    """Return the worst errors of a setting on each group of cases."""
    result: dict[str, tuple[float, float]] = {}
    for c in all_cases:
        found = c.measure(numerics(c.tensors[0].shape[-1], **setting))
        seen = result.get(c.group, (0.0, 0.0))
        result[c.group] = max(seen[0], found[0]), max(seen[1], found[1])
    return result


def rows() -> Iterator[dict]:
    """Print the table over all settings; yield the figures of the default and of one pass."""
    tell("the references")
    all_cases = cases()
    groups = list(dict.fromkeys(c.group for c in all_cases))
    table = Table(title="RMS relative error x 1e4 (largest error in int8 places), worst head")
    columns = ("p_width", "segments", "fraction", "passes", *groups)
    for column in columns:
        table.add_column(column.replace(", ", "\n"), justify="right", no_wrap=True)
    for setting in itertools.product(P_WIDTHS, SEGMENTS, FRACTIONS):
        names = dict(zip(columns, setting, strict=False))
        tell(", ".join(f"{name} {value}" for name, value in names.items()))
        errors = measure(all_cases, **names)
        cells = [f"{rms * 1e4:.2f} ({most:.2g})" for rms, most in errors.values()]
        table.add_row(*map(str, (*setting, numerics(64, **names).digits)), *cells)
    Console(width=190).print(table)

    tell("the default, and one pass")
    n = numerics(64)
    default = f"p_width {n.p_width}, {n.segments} segments, {n.fraction} bits: the default"
    for group, (rms, most) in measure(all_cases).items():
        yield figure(f"RMS error, {group}", rms, "of RMS", ASKED_RMS, default)
        yield figure(f"max error, {group}", most, "int8 places", ASKED_MAX, default)
    for group, (rms, _) in measure(all_cases, p_width=8).items():
        yield figure(f"RMS error, {group}", rms, "of RMS", None, "p_width 8: one pass")


def tell(what: str) -> None:
    """Say what is being measured: all of it takes minutes."""
    print(f"accuracy: {what}", file=sys.stderr, flush=True)


def figure(name: str, value: float, unit: str, asked: float | None, how: str) -> dict:
    """Return a row of the report."""
    return dict(name=name, value=float(value), unit=unit, asked=asked, better="less", how=how)
