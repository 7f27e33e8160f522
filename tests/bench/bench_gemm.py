"""How busy lanes are with products of matrices that are in memory: the `u280-small`."""

from collections.abc import Iterator

import numpy as np

from qkloom.gen.call import build_kernel, memory_model
from qkloom.gen.chip import read_chip
from qkloom.gen.emit import emit
from qkloom.tb.gemm import Product, exact_gemm
from qkloom.tb.kernel import start_kernel
from qkloom.tb.kernel.host import Host
from qkloom.tb.kernel.image import Image
from qkloom.tb.kernel.product import place_product, planned_product_bytes

HEAD_DIM = 64
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
    """Measure each shape, from the start of the call to its interrupt; outputs must be exact."""
    chip = read_chip("u280-small")
    kernel = build_kernel(chip)
    design = emit(kernel)
    for m, k, n, side in SHAPES:
        product = product_of(m, k, n, side)
        macs, slots = m * k * n, chip.size**2 * chip.n_lanes
        image = Image(kernel.n_channels)
        task = place_product(kernel, product, image)
        with start_kernel(design, memory_model(chip, image), "cxxrtl") as simulation:
            memory = [simulation.memory[channel] for channel in range(kernel.n_channels)]
            image.write(memory)
            host = Host(simulation, kernel.registers)
            outcome = host.call(task.arguments, 4 * macs // slots)
            moved = {name: host.read(f"{name}_bytes") for name in "qkvo"}
            output = task.result(memory)
        if not (output == exact_gemm(product, chip.numerics)).all():
            raise SystemExit(f"The product is wrong: {m} x {k} by {k} x {n}")
        where = f"M {m}, K {k}, N {n}"
        yield {
            "name": f"mac_utilization of gemm through AXI, {where}",
            "value": macs / (slots * outcome.cycles),
            "unit": "",
            "asked": 0.9,
            "better": "more",
            "how": f"u280-small, cxxrtl: {outcome.cycles:,} cycles, bit-exact",
        }
        planned = planned_product_bytes(kernel, product)
        yield {
            "name": f"bytes moved beside those the schedule must, {where}",
            "value": sum(abs(moved[name] - planned[name]) for name in moved),
            "unit": "B",
            "asked": 0,
            "better": "less",
            "how": f"counted {moved}; formula: tb/kernel/product.py planned_product_bytes",
        }
