"""How busy lanes are with products of matrices: four 16x16 lanes of a core, fed by streams."""

from collections.abc import Iterator

import numpy as np

from qkloom.gen.chip import default_out_width, default_row_width
from qkloom.gen.emit import emit
from qkloom.rtl.core import Core
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.engines import run
from qkloom.tb.gemm import Product, exact_gemm, program, read_back

SIZE, BLOCK, HEAD_DIM = 16, 128, 64
NUMBERS = {"head_dim": HEAD_DIM, "tokens": 4096, "segments": 8, "fraction": 10, "p_width": 14}
LANES = ("dsp", "dsp", "lut", "lut")
SHAPES = (  # M, K, N, groups side by side
    (128, 2048, 512, 4),
    (128, 2048, 2048, 4),
    (256, 2048, 512, 2),
    (512, 512, 512, 2),
    (128, 512, 512, 4),
)


def product_of(m: int, k: int, n: int, side: int) -> Product:
    """Return a product of random matrices, some of whose outputs are clipped."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-127, 128, (a, k)).astype(np.int8) for a in (m, n))
    groups = n // HEAD_DIM
    shift = round(np.log2(128 * 128 * np.sqrt(k) / 3)) + 16 - 13 - 6
    factor = np.full(groups, 1 << 16), np.full(groups, shift)
    return Product(x, w, *factor, head_dim=HEAD_DIM, side=side)


def rows() -> Iterator[dict]:
    """Measure each shape; the outputs must be exact."""
    numerics = Numerics(size=SIZE, **NUMBERS)
    widths = {
        "row_width": default_row_width(SIZE, numerics.digits),
        "out_width": default_out_width(SIZE, BLOCK, numerics.digits),
    }
    core = Core(lanes=LANES, size=SIZE, block_rows=BLOCK, **widths, **NUMBERS, gemm=True)
    design = emit(core)
    for m, k, n, side in SHAPES:
        product = product_of(m, k, n, side)
        macs, slots = m * k * n, SIZE * SIZE * len(LANES)
        testbench = program(core, product, max_cycles=4 * macs // slots)
        result = run(design, testbench, "cxxrtl")
        if not (
            read_back(core, product, result.outputs["o"]) == exact_gemm(product, numerics)
        ).all():
            raise SystemExit(f"The product is wrong: {m} x {k} by {k} x {n}")
        yield {
            "name": f"mac_utilization of gemm, M {m}, K {k}, N {n}",
            "value": macs / (slots * result.cycles),
            "unit": "",
            "asked": 0.9,
            "better": "more",
            "how": f"{len(LANES)} {SIZE}x{SIZE} lanes, core fed by streams, cxxrtl: "
            f"{result.cycles:,} cycles, bit-exact",
        }
