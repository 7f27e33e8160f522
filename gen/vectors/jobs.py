"""What steps of a lane are about: random jobs, query blocks, and reads of what they left."""

import random
from typing import Any

from ...rtl.lane.numerics import Numerics
from ...tb.simulate import to_bits
from .bench import Expected, Sent

__all__ = ["planes_of", "query_blocks", "random_job", "reads_of"]


def planes_of(unit: Any, rng: random.Random) -> dict[str, int]:
    """Return how many bits of queries count, if jobs say so."""
    return {"planes": rng.randint(1, 8)} if unit.parameters["runtime_precision"] else {}


def random_job(unit: Any, rng: random.Random) -> dict[str, int]:
    """Return a job of any kind that a lane takes."""
    p = unit.parameters
    return {
        **planes_of(unit, rng),
        "first": rng.getrandbits(1),
        "last": rng.getrandbits(1),
        "slot": rng.randrange(p["slots"]),
        "rows": rng.randint(1, p["block_rows"]),
        "d_tiles": rng.randint(1, p["head_dim"] // p["size"]),
        "causal": rng.getrandbits(1),
        "diagonal": rng.randrange(p["tokens"]),
        "mantissa": rng.getrandbits(Numerics.mantissa_width),
        "shift": rng.randrange(1 << Numerics.shift_width),
        "keys": rng.randint(1, min(p["block_rows"], p["tokens"])),
    }


def query_blocks(unit: Any, n: int, rng: random.Random) -> list[dict[str, int]]:
    """Return query blocks of all sizes, in turn over the slots."""
    p = unit.parameters
    return [
        {
            "slot": number % p["slots"],
            "rows": rng.choice([p["block_rows"], rng.randint(1, p["block_rows"])]),
            "d_tiles": rng.randint(1, p["head_dim"] // p["size"]),
        }
        for number in range(n)
    ]


def reads_of(unit: Any, places: list[tuple[int, int]], found: list[Any], **gate: Any) -> Any:
    """Return what reads (bank, address) of a unit's memory, and what must come back."""
    width, shape = len(unit.r.address), unit.r.data.shape()
    words = [address | bank << width for bank, address in places]
    answers = [to_bits(shape, data) for data in found]
    read = Sent(words, ports=("r__address", "r__bank"), valid="r__en", **gate)
    return read, Expected(answers, ports=("r__data",), of="r", latency=1)
