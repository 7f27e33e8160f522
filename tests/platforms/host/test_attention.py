"""Attention on both platforms, bit by bit as the exact model has it."""

from typing import Any

import numpy as np
import pytest

from qkloom.platforms.host import Device, LaunchTimeoutError, attention, kernel_numerics
from qkloom.platforms.host.folder import read_folder
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.errors import InputError
from qkloom.tb.exact import exact_attention
from qkloom.tb.quantize import Operands, quantize


def operands(device: Device, shape: tuple[int, ...], kv: tuple[int, ...] | None) -> Operands:
    rng = np.random.default_rng(7)
    tensors = (rng.standard_normal(s) for s in (shape, kv or shape, kv or shape))
    return quantize(*tensors, kernel_numerics(device.kernel))


def run(device: Device, given: Operands, **options: Any) -> Any:
    output, status = attention(
        device, given.q, given.k, given.v, given.mantissa, given.shift, timeout=60, **options
    )
    assert status.code in (Code.OK, None)
    return output


def expected(device: Device, given: Operands, **options: Any) -> Any:
    tensors = given.q, given.k, given.v, given.mantissa, given.shift
    return exact_attention(*tensors, kernel_numerics(device.kernel), block_rows=8, **options)


@pytest.mark.parametrize(
    ("shape", "kv", "options"),
    [
        ((1, 1, 4), None, {}),
        ((2, 17, 8), None, {"causal": True}),
        ((4, 9, 5), (2, 23, 5), {"causal": True, "q_start": 14}),
        ((2, 2, 8, 8), (2, 1, 10, 8), {}),
        ((1, 6, 8), None, {"causal": True, "q_start": -3}),
    ],
)
def test_is_the_exact_model(
    device: Device, shape: tuple[int, ...], kv: Any, options: dict[str, Any]
) -> None:
    given = operands(device, shape, kv)
    output = run(device, given, **options)
    assert output.shape == shape
    np.testing.assert_array_equal(output, expected(device, given, **options))


def test_blocks_anywhere_in_memory(device: Device) -> None:
    given = operands(device, (2, 20, 8), None)
    output = run(device, given, places=[[9, 2, 4], [0, 7, 1]])
    np.testing.assert_array_equal(output, expected(device, given))
    wrong = run(device, given, places=[[9, 2, 4], [0, 7, 11]])
    np.testing.assert_array_equal(output, wrong)


@pytest.mark.parametrize(
    ("shape", "mask_shape"),
    [((4, 20, 8), (4, 3, 5)), ((4, 20, 8), (3, 5)), ((2, 2, 17, 8), (2, 1, 3, 5))],
)
def test_a_selection(device: Device, shape: tuple[int, ...], mask_shape: tuple[int, ...]) -> None:
    given = operands(device, shape, (*shape[:-3], 2, 40, 8))
    mask = np.random.default_rng(3).random(mask_shape) < 0.4
    options: dict[str, Any] = {"causal": True, "q_start": 40 - shape[-2], "block_mask": mask}
    output = run(device, given, **options)
    np.testing.assert_array_equal(output, expected(device, given, **options))
    assert (output != run(device, given, causal=True, q_start=40 - shape[-2])).any()
    assert not device._allocated


def test_a_selection_of_blocks_anywhere(device: Device) -> None:
    given = operands(device, (2, 20, 8), None)
    mask = np.eye(3, dtype=bool)
    output = run(device, given, places=[[9, 2, 4], [0, 7, 1]], block_mask=mask)
    np.testing.assert_array_equal(output, expected(device, given, block_mask=mask))


def test_a_selection_of_nothing_gives_zeros(device: Device) -> None:
    given = operands(device, (2, 20, 8), None)
    assert not run(device, given, block_mask=np.zeros((3, 3), bool)).any()


def test_memory_is_given_back(device: Device) -> None:
    given = operands(device, (1, 3, 8), None)
    for _ in range(3):
        run(device, given)
        assert not device._allocated


def test_time_is_over(device: Device) -> None:
    given = operands(device, (1, 30, 8), None)
    with pytest.raises(
        LaunchTimeoutError, match=r"^The call was not done in 0 seconds, and the device was reset;"
    ):
        attention(device, given.q, given.k, given.v, given.mantissa, given.shift, timeout=0)
    assert not device._allocated
    assert not device.queued
    np.testing.assert_array_equal(run(device, given), expected(device, given))


class NoDevice:
    """What there is of a device before anything is allocated."""

    queued = 0
    channel_bytes = 1 << 20

    def __init__(self, folder: Any) -> None:
        self.kernel = read_folder(folder).kernel


X = np.zeros((2, 9, 8), np.int8)
RIGHT: dict[str, Any] = dict(q=X, k=X, v=X, mantissa=[1, 2], shift=[3, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": X[0]}, r"^The input: q, k and v must be \(heads, tokens, head_dim\) or"),
        ({"k": X[:, :5]}, r"^The input: k and v must have the same shape; found"),
        ({"v": X.astype(int)}, r"^v must be a NumPy array of int8, not of int64; quantize it$"),
        ({"q": X + 5, "query_bits": 3}, r"^q must be -4 to 3, numbers of 3 bits, not 5 to 5; quan"),
        (
            {"mantissa": [1]},
            r"^mantissa must be integers \(2,\), one of each query head, not int64",
        ),
        (
            {"mantissa": [1, 2.0]},
            r"^mantissa must be integers \(2,\), one of each query head, not f",
        ),
        ({"mantissa": [1, 1 << 17]}, r"^mantissa must be 0 to 131071, not 1 to 131072; qkloom"),
        ({"shift": [-1, 1]}, r"^shift must be 0 to 63, not -1 to 1; qkloom"),
        ({"shift": [0, 64]}, r"^shift must be 0 to 63, not 0 to 64; qkloom"),
        ({"places": [0, 1, 2]}, r"^places must be 4 integers, one of each block of "),
        ({"places": [0.0, 1, 2, 3]}, r"^places must be 4 integers, .* not 4 of float64; count"),
        (
            {"places": [0, 1, [2], 3]},
            r"^places must be 4 integers, one of each block of keys and valu",
        ),
        (
            {"places": [0, 1, 2, 1 << 31]},
            r"^places must be below [\d,]+, as many blocks as the mem",
        ),
        (
            {"mantissa": [1, [2]]},
            r"^mantissa must be integers \(2,\), one of each query head, not ob",
        ),
        ({"k": [[1]]}, r"^k must be a NumPy array of int8, not of list; quantize it$"),
        ({"q": None}, r"^q must be a NumPy array of int8, not of NoneType; quantize it$"),
        ({"query_bits": 8.0}, r"^q must have 2 to 8 bits, not 8\.0; choose as many as it has$"),
        ({"places": [0, 1, 2, 2]}, r"^places must be different, and at least 0; give each block"),
        ({"places": [0, 1, 2, -1]}, r"^places must be different, and at least 0; give each block"),
        (
            {"block_mask": np.ones((2, 2))},
            r"^block_mask must be an array of bool, not of float64; True selects a block of keys$",
        ),
        ({"block_mask": [[True], [1, 2]]}, r"^block_mask must be an array of bool, not of object;"),
        (
            {"block_mask": np.ones((3, 2, 2), bool)},
            r"^block_mask must be \(2, 2, 2\), or .* of 8 queries and of 8 keys; not \(3, 2, 2\)$",
        ),
        ({"block_mask": np.ones(2, bool)}, r"^block_mask must be \(2, 2, 2\), .*; not \(2,\)$"),
        ({"block_mask": np.bool_(True)}, r"^block_mask must be \(2, 2, 2\), .*; not \(\)$"),
    ],
)
def test_refused(folder: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attention(NoDevice(folder), **{**RIGHT, **changes})  # type: ignore[arg-type]


def test_other_calls_on_their_way(folder: Any) -> None:
    device: Any = NoDevice(folder)
    device.queued = 2
    with pytest.raises(
        InputError, match=r"^A device must have no calls on their way, and has 2; w"
    ):
        attention(device, **RIGHT)


def test_a_chip_without_selections(folder: Any) -> None:
    device: Any = NoDevice(folder)
    device.kernel = Kernel(**{**device.kernel.parameters, "sparse": False})
    device.name = "sim plain"
    message = r"^sim plain takes no block_mask; generate a chip with sparse = true$"
    with pytest.raises(InputError, match=message):
        attention(device, **RIGHT, block_mask=np.ones((2, 2), bool))
