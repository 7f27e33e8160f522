"""What a driver is told of a kernel agrees with what the kernel and its model do."""

import pytest

from qkloom.gen.call import build_kernel
from qkloom.gen.chip import preset_names, read_chip
from qkloom.platforms.calls import call_constants, call_guide
from qkloom.rtl.kernel.code import Code


@pytest.fixture(params=preset_names())
def kernel(request):
    return build_kernel(read_chip(request.param))


def test_constants(kernel):
    found = {constant.name: constant.value for constant in call_constants(kernel)}
    given = kernel.parameters
    assert found["MAX_HEADS"] == given["heads"]
    assert found["ALIGNMENT"] * 8 == given["data_width"]
    assert ("MAX_PRODUCT_HEAD_DIM" in found) == given["gemm"]
    assert ("SELECTION_ROW" in found) == given["sparse"]
    assert {name: value for name, value in found.items() if name.startswith("CODE_")} == {
        f"CODE_{code.name}": code.value for code in Code
    }
    assert all(constant.doc for constant in call_constants(kernel))


def test_guide(kernel):
    text = call_guide(kernel)
    assert ("## Products" in text) == kernel.parameters["gemm"]
    assert ("## Selections" in text) == kernel.parameters["sparse"]
    assert ("| `selection` |" in text) == kernel.parameters["sparse"]
    channels = ", ".join(map(str, kernel.channels["k"]))
    assert f" | {channels} | int8 |" in text
    assert all(f"| {code.value} | `CODE_{code.name}` | {code.meaning} |" in text for code in Code)
    assert max(map(len, text.splitlines())) < 130
    assert "{" not in text


def test_elements_of_4_bits():
    chip = read_chip("u280-max").replace(stationary_width=4)
    text = call_guide(build_kernel(chip))
    assert " | int4 |" in text
    assert "the first one in the low half" in text
