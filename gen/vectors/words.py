"""Words of streams, and the random numbers in them."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Value

from ...rtl.formats import Fixed
from ...tb.formats import Ints
from ...tb.packing import pack
from ...tb.simulate import to_bits
from .bench import Expected, Vectors, integers

__all__ = [
    "anything",
    "between",
    "ints",
    "is_last",
    "number_in",
    "numbers_in",
    "plain",
    "some",
    "stream_vectors",
    "words_of",
]


def numbers_in(rng: random.Random, number: Fixed, shape: tuple[int, int]) -> Ints:
    """Return random integers of a format; the smallest and the largest turn up often."""
    low, high = number.min_raw, number.max_raw
    numbers = [rng.choice([low, high, rng.randint(low, high)]) for _ in range(shape[0] * shape[1])]
    return np.array(numbers, np.int64).reshape(shape)


def between(rng: random.Random, low: int, high: int, shape: tuple[int, ...]) -> Ints:
    """Return random integers; both ends turn up often."""
    numbers = [rng.choice([low, high, rng.randint(low, high)]) for _ in range(int(np.prod(shape)))]
    return np.array(numbers, np.int64).reshape(shape)


def ints(rng: random.Random, *shape: int) -> Ints:
    """Return random bytes with a sign; both ends turn up often."""
    return between(rng, -128, 127, shape)


def some(rng: random.Random, low: int, high: int, n: int) -> list[int]:
    """Return random integers; both ends and 0 turn up often."""
    return [rng.choice([low, high, 0, rng.randint(low, high)]) for _ in range(n)]


def number_in(rng: random.Random, number: Fixed) -> int:
    """Return a random integer of a format; both ends turn up often."""
    low, high = number.min_raw, number.max_raw
    return rng.choice([low, high, rng.randint(low, high)])


def words_of(stream: Any, **fields: Any) -> list[int]:
    """Return the words of a stream's payloads, the fields given by columns."""
    return integers(pack(stream.payload.shape(), **fields))


def anything(stream: Any, n: int, rng: random.Random) -> list[int]:
    """Return ``n`` words of a stream, whatever they mean."""
    return [rng.getrandbits(len(Value.cast(stream.payload))) for _ in range(n)]


def stream_vectors(unit: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Vectors:
    """Return vectors of plain streams."""

    def words(name: str, items: list[Any]) -> list[int]:
        shape = getattr(unit, name).payload.shape()
        return [to_bits(shape, item) for item in items]

    sent = {name: words(name, items) for name, items in inputs.items()}
    back = {name: Expected(words(name, items)) for name, items in outputs.items()}
    n_words = sum(map(len, sent.values())) + sum(len(x.words) for x in back.values())
    return Vectors(sent, back, 500 + 8 * n_words)


def plain(words: Any) -> list[int]:
    """Return words that wait for nothing."""
    assert isinstance(words, list)
    return words


def is_last(n: int) -> Ints:
    """Return 1 for the last of ``n``, 0 for the others."""
    flags: Ints = np.eye(1, n, n - 1, dtype=np.int64)[0]
    return flags
