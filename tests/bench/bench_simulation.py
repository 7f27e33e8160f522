"""How fast a lane simulates, and how long its simulator takes to build."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable, Fragment

from qkloom.gen.emit import emit
from qkloom.rtl.core import Core
from qkloom.tb.core import program
from qkloom.tb.deal import Call
from qkloom.tb.design import Design
from qkloom.tb.engines import Cache, Result, find_compiler, run
from qkloom.tb.testbench import Testbench


class Flattened(Elaboratable):
    """A component whose whole hierarchy is one fragment, memories apart: what pysim likes best."""

    def __init__(self, component: Any) -> None:
        self._component = component

    def __getattr__(self, name: str) -> Any:
        return getattr(self._component, name)

    def elaborate(self, platform: Any) -> Fragment:
        """Move the statements of all submodules to the top."""
        flat = Fragment()
        pending = [Fragment.get(self._component, platform)]
        while pending:
            fragment = pending.pop()
            if type(fragment) is not Fragment:  # a memory
                flat.add_subfragment(fragment)
                continue
            for domain, statements in fragment.statements.items():
                flat.add_statements(domain, statements)
            pending += [inner for inner, *_ in fragment.subfragments]
        return flat


def lane(size: int) -> tuple[Design, Core]:
    """Return a core of one lane, whose ports are the lane's."""
    numbers = {"p_width": 14, "segments": 8, "fraction": 10}
    shape = {
        "block_rows": 128,
        "head_dim": 64,
        "tokens": 1024,
        "row_width": min(size // 2, 16),
        "out_width": 4,
    }
    core = Core(lanes=("plain",), size=size, **shape, **numbers)
    return emit(core), core


def attention(core: Core, tokens: int) -> Testbench:
    """Return dense attention of one head."""
    rng = np.random.default_rng(0)
    q, k, v = rng.integers(-127, 128, (3, 1, tokens, 64)).astype(np.int8)
    call = Call(q, k, v, np.array([70000]), np.array([20]))
    return program(core, call, max_cycles=10_000_000)


def timed(design: Design, bench: Testbench, engine: str, **options: Any) -> tuple[Result, float]:
    """Return a run and its seconds."""
    start = time.perf_counter()
    result = run(design, bench, engine, **options)
    return result, time.perf_counter() - start


def pysim_speed(design: Design, core: Core) -> float:
    """Return cycles per second without what a start takes: of a longer run beyond a shorter one."""
    (short, before), (long, after) = (
        timed(design, attention(core, tokens), "pysim") for tokens in (16, 64)
    )
    return (long.cycles - short.cycles) / (after - before)


def rows() -> Iterator[dict]:
    """Build each simulator in an empty cache, run it, and run 16x16 under pysim too."""
    compiler = find_compiler().name
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        warm, core = lane(4)
        run(warm, attention(core, 4), "cxxrtl", cache=cache)  # the compiler's first start
        speeds = {}
        for size, tokens in ((32, 512), (16, 1024)):
            design, core = lane(size)
            bench = attention(core, tokens)
            _, first = timed(design, bench, "cxxrtl", cache=cache)
            result, again = timed(design, bench, "cxxrtl", cache=cache)
            speeds[size] = result.cycles / again
            where = f"{size}x{size} lane, {tokens} tokens, head_dim 64, cxxrtl, {compiler}"
            yield {
                "name": f"build of a {size}x{size} lane's simulator",
                "value": first - again,
                "unit": "s",
                "asked": 30,
                "better": "less",
                "how": f"{where}: first run less second, which finds it in the cache",
            }
            yield {
                "name": f"speed of a {size}x{size} lane",
                "value": speeds[size],
                "unit": "cycles/s",
                "asked": 20_000 if size == 32 else None,
                "better": "more",
                "how": f"{where}: {result.cycles:,} cycles, streams and stalls included",
            }
    in_place = pysim_speed(design, core)
    flat = pysim_speed(replace(design, component=Flattened(core)), core)
    for name, speed in (("in place", in_place), ("flattened", flat)):
        yield {
            "name": f"speed of a 16x16 lane in pysim, {name}",
            "value": speed,
            "unit": "cycles/s",
            "asked": None,
            "better": "more",
            "how": "the same lane and streams, 64 tokens less 16",
        }
    yield {
        "name": "cxxrtl over the faster pysim, 16x16 lane",
        "value": speeds[16] / max(in_place, flat),
        "unit": "x",
        "asked": 100,
        "better": "more",
        "how": "from the rows above",
    }
