"""Fit the factors of the estimator to synthesized points, and say how far they are off."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkloom.gen.estimate.model import (
    FEATURES,
    FIT,
    Fit,
    build_tree,
    features,
    ruled_counts,
    total_counts,
    walk,
)
from qkloom.gen.synthesis import COLUMNS

from .points import Point
from .synthesize import POINTS

__all__ = [
    "Residual",
    "digest_of_points",
    "fit_points",
    "misses",
    "residuals",
    "summarize",
    "write_fit",
]

EXACT = ("dsp", "bram36", "uram")
MEDIAN, WORST, CELLS = 0.05, 0.15, 32
"""What is asked of points that were not fitted."""

# Cells that count as nothing beside a module's own, and how hard a class is pulled to all classes.
SMALL, PULL = 20.0, 0.002
# Shift registers are found where one register only takes what another has: these may vanish.
MAY_SHRINK = {"ff": ("one", "copy", "register")}


@dataclass(frozen=True)
class Sample:
    """A distinct module of a point: what it is, and what synthesis made of it."""

    kind: str
    bits: Mapping[str, float]
    ruled: Mapping[str, float]
    own: Mapping[str, float]


@dataclass(frozen=True)
class Residual:
    """A figure of a point: synthesized, and estimated."""

    command: str
    group: str
    column: str
    synthesized: float
    estimated: float

    @property
    def off(self) -> float:
        """Distance in cells."""
        return abs(self.estimated - self.synthesized)

    @property
    def error(self) -> float:
        """The same, relative."""
        return self.off / self.synthesized if self.synthesized else float(self.off > 0)

    @property
    def is_met(self) -> bool:
        """Whether it is within what is asked of each point."""
        if self.column in EXACT:
            return self.off < 1e-6
        return self.error <= WORST or self.off <= CELLS


def samples(point: Point, known: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the modules of a point whose costs are not ruled alone."""
    component = point.build()
    pairs = zip(walk(component, top_only=point.top_only), known["modules"], strict=True)
    for (part, content), module in pairs:
        if type(part).__name__ != module["class"]:
            raise ValueError(f"{point.command} has {module['class']} where it was {type(part)}")
        if content is not None:
            yield Sample(module["class"], features(content), ruled_counts(content), module["own"])


def fit_points(points: Iterable[tuple[Point, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return factors by class, column and feature, from the points that are to be fitted."""
    by_class: dict[str, list[Sample]] = {}
    seen = set()
    for point, known in points:
        if point.group == "fitted":
            for sample in samples(point, known):
                key = repr(sample)
                if key not in seen:
                    seen.add(key)
                    by_class.setdefault(sample.kind, []).append(sample)
    everything = [sample for of in by_class.values() for sample in of]
    factors: dict[str, Any] = {"": {}}
    start = {}
    for column in FEATURES:
        start[column] = _solve(everything, column, None)
        if column in MAY_SHRINK or column == "lutram":
            # Whether registers vanish is a matter of each class; rules are right without it.
            start[column] = np.zeros_like(start[column])
        factors[""][column] = _named(column, start[column])
    for kind, of in sorted(by_class.items()):
        factors[kind] = {
            column: _named(column, _solve(of, column, start[column])) for column in FEATURES
        }
    return factors


def _solve(of: list[Sample], column: str, start: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the factors with the least squares of relative errors, of the signs that make sense.

    With ``start``, as if there were a few more points, which say what all classes together do.
    """
    shrinks = MAY_SHRINK.get(column, ())
    names = FEATURES[column]
    signs = np.array([-1.0 if name in shrinks else 1.0 for name in names])
    x = np.array([[s.bits.get(name, 0.0) for name in names] for s in of]) * signs
    y = np.array([s.own.get(column, 0) - s.ruled.get(column, 0) for s in of])
    weight = 1 / (np.array([s.own.get(column, 0) for s in of]) + SMALL)
    x, y = x * weight[:, None], y * weight
    if start is not None:
        scale = np.sqrt((x**2).mean(axis=0) * PULL * len(of))
        x, y = np.vstack([x, np.diag(scale)]), np.concatenate([y, scale * start * signs])
    return _nonnegative(x, y) * signs


def _nonnegative(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve least squares for factors of at least 0, a coordinate at a time."""
    gram, target = x.T @ x, x.T @ y
    factors = np.zeros(x.shape[1])
    for _ in range(2000):
        before = factors.copy()
        for k in range(len(factors)):
            if gram[k, k] > 1e-12:
                step = (target[k] - gram[k] @ factors) / gram[k, k]
                factors[k] = max(0.0, factors[k] + step)
        if np.abs(factors - before).max() < 1e-7:
            break
    return factors


def _named(column: str, factors: NDArray[np.float64]) -> dict[str, float]:
    """Return the factors that are not 0 by the names of their features."""
    rounded = (float(f"{factor:.5g}") for factor in factors)
    return {name: factor for name, factor in zip(FEATURES[column], rounded, strict=True) if factor}


def residuals(points: Iterable[tuple[Point, Mapping[str, Any]]], fit: Fit) -> Iterator[Residual]:
    """Yield every figure of every point."""
    for point, known in points:
        estimate = _estimated(point, fit)
        for column in COLUMNS:
            figures = known["total"][column], estimate[column]
            if any(figures):
                yield Residual(point.command, point.group, column, *figures)


def _estimated(point: Point, fit: Fit) -> Counter[str]:
    tree = build_tree(point.build(), fit)
    return tree.own if point.top_only else total_counts(tree)


def summarize(of: Iterable[Residual]) -> dict[str, dict[str, float]]:
    """Return median and worst error of each column; the worst one of at least 32 cells."""
    errors: dict[str, list[Residual]] = {}
    for residual in of:
        errors.setdefault(residual.column, []).append(residual)
    return {
        column: {
            "points": len(of),
            "median": float(np.median([r.error for r in of])),
            "worst": max((r.error for r in of if r.off > CELLS), default=0.0),
            "missed": sum(not r.is_met for r in of),
        }
        for column, of in errors.items()
    }


def write_fit(fit: Fit) -> None:
    """Write a fit, a class a line."""
    head = {name: value for name, value in asdict(fit).items() if name != "factors"}
    classes = ",\n  ".join(
        f"{json.dumps(kind)}: {json.dumps(of)}" for kind, of in fit.factors.items()
    )
    FIT.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "factors": {{\n  {classes}\n }}\n}}\n')


def digest_of_points() -> str:
    """Return the hash of the points' file."""
    return hashlib.sha256(POINTS.read_bytes()).hexdigest()


def misses(judged: Iterable[Residual]) -> list[str]:
    """Return what is farther off than what is asked of points that were not fitted."""
    of = list(judged)
    errors = summarize(of)
    return [
        f"median of {column}: {errors[column]['median']:.1%}"
        for column in FEATURES
        if errors[column]["median"] > MEDIAN
    ] + [
        f"{r.column} of {r.command}: {r.synthesized:g}, estimated {r.estimated:g}"
        for r in of
        if not r.is_met
    ]
