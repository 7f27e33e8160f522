"""How busy a lane is: dense and causal attention of 1,024 tokens on one 16x16 lane."""

from collections.abc import Iterator

import numpy as np

from qkloom.gen.chip import default_out_width, default_row_width
from qkloom.gen.emit import emit
from qkloom.rtl.core import Core
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.core import program, read_back
from qkloom.tb.deal import Call
from qkloom.tb.engines import run
from qkloom.tb.exact import count_macs, exact_attention
from qkloom.tb.tensors import check_shapes

TOKENS, HEAD_DIM, SIZE, BLOCK = 1024, 64, 16, 128
NUMBERS = {"head_dim": HEAD_DIM, "tokens": TOKENS, "segments": 16, "fraction": 10}


def measure(p_width: int, *, causal: bool) -> tuple[float, float, int]:
    """Return mac_utilization, attention_efficiency and cycles; the outputs must be exact."""
    rng = np.random.default_rng(0)
    q, k, v = rng.integers(-127, 128, (3, 1, TOKENS, HEAD_DIM)).astype(np.int8)
    call = Call(q, k, v, np.array([70000]), np.array([20]), causal)
    numerics = Numerics(size=SIZE, p_width=p_width, **NUMBERS)
    widths = {
        "row_width": default_row_width(SIZE, numerics.digits),
        "out_width": default_out_width(SIZE, BLOCK, numerics.digits),
    }
    core = Core(lanes=("plain",), size=SIZE, block_rows=BLOCK, p_width=p_width, **widths, **NUMBERS)
    result = run(emit(core), program(core, call, max_cycles=3_000_000), "cxxrtl")
    options = {"block_rows": BLOCK, "causal": causal}
    expected = exact_attention(q, k, v, call.mantissa, call.shift, numerics, **options)
    if not (read_back(core, call, result.outputs["o"]) == expected).all():
        raise SystemExit(f"The lane's output is wrong: p_width {p_width}, causal {causal}")
    macs = count_macs(check_shapes(q, k, v), numerics, **options)
    slots = SIZE * SIZE * result.cycles
    return macs.slots / slots, macs.useful / slots, result.cycles


def rows() -> Iterator[dict]:
    """Measure each kind of probability digits, dense and causal."""
    where = f"{TOKENS} tokens, head_dim {HEAD_DIM}, one {SIZE}x{SIZE} lane, cxxrtl"
    for p_width in (8, 12, 14, 15, 16):
        passes = 1 if p_width <= 8 else 2
        for causal in (False, True):
            utilization, efficiency, cycles = measure(p_width, causal=causal)
            kind = "causal" if causal else "dense"
            how = f"{kind}, {where}: {cycles:,} cycles, bit-exact"
            name = f"{kind}, p_width {p_width}, {passes} pass{'es' * (passes > 1)}"
            figure = {"unit": "", "better": "more", "how": how}
            yield {
                "name": f"mac_utilization, {name}",
                "value": utilization,
                "asked": None if causal else 0.95,
                **figure,
            }
            yield {
                "name": f"attention_efficiency, {name}",
                "value": efficiency,
                "asked": None if causal else (0.93 if passes == 1 else 0.62),
                **figure,
            }
