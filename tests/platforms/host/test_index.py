"""Selections on a simulated device, written on a channel that outputs are on too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkloom.platforms.host import Device, attention, kernel_numerics, select_blocks
from qkloom.rtl.index.numerics import IndexNumerics
from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import InputError
from qkloom.tb.exact import exact_attention
from qkloom.tb.index.exact import CoverageRule, exact_coverage
from qkloom.tb.quantize import Operands, quantize

RULE = CoverageRule(gamma=0.7, tau=0.25, min_budget=0)


@pytest.fixture(scope="module")
def selecting(generated: Any) -> Path:
    """Return a generated folder of a chip that selects."""
    return generated("host-select", kernel={}, index="coverage")


def operands(device: Device, heads: int, kv_heads: int, tokens: int, head_dim: int) -> Operands:
    rng = np.random.default_rng(tokens)
    shapes = ((heads, tokens, head_dim), *2 * [(kv_heads, tokens, head_dim)])
    return quantize(*(rng.standard_normal(s) for s in shapes), kernel_numerics(device.kernel))


@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (2, 1, 30, 8), (4, 2, 64, 5)])
def test_what_is_selected_is_attended_to(selecting: Path, shape: tuple[int, ...]) -> None:
    with Device.open("sim", selecting) as device:
        given = operands(device, *shape)
        factors = given.mantissa, given.shift
        places = np.random.default_rng(1).permutation(20)[: shape[1] * -(-shape[2] // 8)]
        found, heads, status = select_blocks(
            device, given.q, given.k, *factors, rule=RULE, places=places
        )
        assert status.code in (Code.OK, None)
        lane = kernel_numerics(device.kernel)
        numerics = IndexNumerics(lane=lane, block=8, tokens=64)
        padded = [np.pad(x, ((0, 0), (0, 0), (0, -shape[3] % 4))) for x in (given.q, given.k)]
        expected = [head.verdict for head in exact_coverage(*padded, *factors, numerics, RULE)]
        assert (found == np.stack([verdict.mask for verdict in expected])).all()
        assert [head.is_aware for head in heads] == [verdict.is_aware for verdict in expected]
        assert {head.blocks for head in heads} == {-(-shape[2] // 8)}
        output, _ = attention(
            device, given.q, given.k, given.v, *factors, causal=True, block_mask=found
        )
    wanted = exact_attention(
        given.q, given.k, given.v, *factors, lane, block_rows=8, causal=True, block_mask=found
    )
    assert (output == wanted).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (((1, 8, 4), (1, 9, 4)), r"^q and k must have the same number of tokens, not 8 and 9: "),
        (((1, 65, 4), (1, 65, 4)), r"^q and k must have at most 64 tokens, which .*, not 65; "),
    ],
)
def test_mistakes(selecting: Path, shape: tuple[tuple[int, ...], ...], message: str) -> None:
    q, k = (np.zeros(s, np.int8) for s in shape)
    with Device.open("sim", selecting) as device, pytest.raises(InputError, match=message):
        select_blocks(device, q, k, [1], [0])


def test_a_chip_that_does_not(folder: Path) -> None:
    x = np.zeros((1, 8, 4), np.int8)
    message = r'selects no blocks; generate a chip with index = "coverage"$'
    with Device.open("sim", folder) as device, pytest.raises(InputError, match=message):
        select_blocks(device, x, x, [1], [0])
