"""Products of matrices on both platforms, bit by bit as the exact model has them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qkloom.platforms.host import Device, gemm, kernel_numerics
from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import InputError
from qkloom.tb.gemm import Product, exact_gemm
from qkloom.tb.quantize import encode_factor


def matrices(m: int, k: int, n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(m)
    x, w = (rng.integers(-128, 128, (rows, k)).astype(np.int8) for rows in (m, n))
    return x, w


def expected(device: Device, x: Any, w: Any, mantissa: int, shift: int) -> Any:
    """Return the exact outputs; each channel is a group of its own."""
    each = (np.full(len(w), value) for value in (mantissa, shift))
    padding = -x.shape[1] % 8
    x, w = (np.pad(a, ((0, 0), (0, padding))) for a in (x, w))
    whole = Product(x, w, *each, head_dim=1)
    return exact_gemm(whole, kernel_numerics(device.kernel))


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 20, 13), (64, 64, 64), (17, 8, 40)])
def test_is_the_exact_model(device: Device, shape: tuple[int, int, int]) -> None:
    x, w = matrices(*shape)
    mantissa, shift = encode_factor(1 / (150 * np.sqrt(shape[1])), 13)
    output, status = gemm(device, x, w, mantissa, shift, timeout=60)
    assert status.code in (Code.OK, None)
    assert output.dtype == np.int8
    np.testing.assert_array_equal(output, expected(device, x, w, mantissa, shift))
    assert not device._allocated


def test_is_near_the_floats(device: Device) -> None:
    x, w = matrices(12, 24, 16)
    factor = 1 / 3000
    output, _ = gemm(device, x, w, *encode_factor(factor, 13), timeout=60)
    floats = np.clip(factor * (x.astype(float) @ w.T), -127, 127)
    assert np.abs(output - floats).max() <= 0.5 + 1e-3


def test_a_factor_for_each_group(device: Device) -> None:
    x, w = matrices(5, 16, 16)
    mantissa, shift = [1 << 16, 1 << 16, 1 << 16, 98_304], [16, 17, 31, 17]
    output, _ = gemm(device, x, w, mantissa, shift, head_dim=4, timeout=60)
    product = Product(x, w, np.array(mantissa), np.array(shift), head_dim=4)
    np.testing.assert_array_equal(output, exact_gemm(product, kernel_numerics(device.kernel)))


X, W = np.zeros((2, 8), np.int8), np.zeros((4, 8), np.int8)
RIGHT: dict[str, Any] = dict(x=X, w=W, mantissa=1 << 16, shift=16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": X[0]},
            r"^x and w must be \(M, K\) and \(N, K\), of one K, not \(8,\) and \(4, 8\); ",
        ),
        ({"x": X[:, 1:]}, r"^x and w must be .*, not \(2, 7\) and \(4, 8\); weights have a row"),
        ({"w": W[:0]}, r"^x and w must be .*, not \(2, 8\) and \(0, 8\); "),
        ({"x": X.astype(int)}, r"^x must be a NumPy array of int8, not of int64; quantize it$"),
        ({"w": W.astype(float)}, r"^w must be a NumPy array of int8, not of float64; quantize it$"),
        ({"x": X + 5, "bits": 3}, r"^x must be -4 to 3, numbers of 3 bits, not 5 to 5; quantize"),
        ({"bits": 0}, r"^x must have 2 to 8 bits, not 0; choose as many as it has$"),
        ({"head_dim": 16}, r"^head_dim must be a multiple of 4 up to 8, not 16; leave it out$"),
        ({"head_dim": 6}, r"^head_dim must be a multiple of 4 up to 8, not 6; leave it out$"),
        ({"mantissa": [1, 2]}, r"^mantissa must be integers \(1,\), one of each group of channels"),
        ({"x": [[1, 2]]}, r"^x must be a NumPy array of int8, not of list; quantize it$"),
        (
            {"head_dim": 8.0},
            r"^head_dim must be a multiple of \d+ up to \d+, not 8\.0; leave it out$",
        ),
        ({"shift": 64}, r"^shift must be 0 to 63, not 64 to 64; qkloom"),
        ({"shift": 32}, r"^shift must be at most 31, not 32: the lanes of this kernel shift "),
        ({"x": np.zeros((65, 8), np.int8)}, r"^n_q must be 1 to 64, not 65 "),
        ({"w": np.zeros((65, 8), np.int8)}, r"^heads must be 1 to 8, not 9 "),
    ],
)
def test_refused(folder: Any, changes: dict[str, Any], message: str) -> None:
    with Device.open("sim", folder) as device, pytest.raises(InputError, match=message):
        gemm(device, **{**RIGHT, **changes})


def test_a_chip_without() -> None:
    kernel = SimpleNamespace(parameters={"gemm": False, "block_rows": 8}, channels={})
    device: Any = SimpleNamespace(kernel=kernel, name="sim plain", queued=0)
    with pytest.raises(
        InputError, match=r"^sim plain computes attention only; generate a chip with gemm = true$"
    ):
        gemm(device, **RIGHT)
