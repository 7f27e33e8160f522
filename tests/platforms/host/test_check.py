"""Each rule of a call, without hardware."""

from typing import Any

import pytest

from qkloom.platforms.host import Buffer, RefusedError
from qkloom.platforms.host.check import argument_channels, check_call
from qkloom.platforms.host.folder import read_folder
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.errors import InputError


@pytest.fixture
def kernel(folder: Any) -> Any:
    return read_folder(folder).kernel


@pytest.fixture
def right(kernel: Any) -> dict[str, Any]:
    """Return a call that is allowed: two blocks of queries a head, three of keys."""
    sizes = {"q_0": 256, "k_0": 128, "k_1": 64, "v_0": 192, "o_0": 512, "o_1": 512, "factors": 16}
    buffers = {
        name: Buffer(argument_channels(kernel)[name], size, 0, number, None)
        for number, (name, size) in enumerate(sizes.items())
    }
    numbers = dict(flags=1, heads=2, kv_heads=1, n_q=16, n_kv=20, q_start=4, head_dim=8)
    return {**buffers, **numbers, "query_bits": 8}


@pytest.fixture
def product(kernel: Any) -> dict[str, Any]:
    """Return a product that is allowed: two blocks of rows, three chunks, two groups."""
    sizes = {"q_0": 384, "k_0": 192, "k_1": 192, "v_0": 1, "o_0": 128, "o_1": 128, "factors": 16}
    buffers = {
        name: Buffer(argument_channels(kernel)[name], size, 0, number, None)
        for number, (name, size) in enumerate(sizes.items())
    }
    numbers = dict(flags=4, heads=2, kv_heads=1, n_q=16, n_kv=16, q_start=0, head_dim=8)
    return {**buffers, **numbers, "query_bits": 8, "chunks": 3}


def moved(buffer: Buffer, **changes: Any) -> Buffer:
    given = dict(channel=buffer.channel, size=buffer.size, offset=0, allocation=buffer.allocation)
    return Buffer(**{**given, **changes}, handle=None)


def test_channels_of_arguments(kernel: Any) -> None:
    found = argument_channels(kernel)
    tensors = dict(q_0=0, k_0=0, k_1=1, v_0=1, o_0=0, o_1=1)
    assert found == dict(**tensors, factors=0, table=0, selection=0)


def test_allowed(kernel: Any, right: dict[str, Any]) -> None:
    check_call(kernel, right)
    check_call(kernel, {**right, "table": moved(right["factors"], allocation=99)})


def test_missing(kernel: Any, right: dict[str, Any]) -> None:
    del right["n_q"], right["o_1"]
    with pytest.raises(InputError, match=r"^A call must have the arguments n_q, o_1; add them$"):
        check_call(kernel, right)


def test_missing_table(kernel: Any, right: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^A call must have the arguments table; add them$"):
        check_call(kernel, {**right, "flags": 3})


def test_unknown(kernel: Any, right: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^A call must have no arguments but .* and has bias; s"):
        check_call(kernel, {**right, "bias": 1})


def test_no_buffer(kernel: Any, right: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^q_0 must be a buffer, not 4096; allocate one$"):
        check_call(kernel, {**right, "q_0": 4096})


@pytest.mark.parametrize("value", [1.0, "1", None])
def test_no_number(kernel: Any, right: dict[str, Any], value: Any) -> None:
    with pytest.raises(InputError, match=r"^heads must be an integer, not "):
        check_call(kernel, {**right, "heads": value})


def test_buffer_for_a_number(kernel: Any, right: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^heads must be an integer, not Buffer\("):
        check_call(kernel, {**right, "heads": right["q_0"]})


def test_other_channel(kernel: Any, right: dict[str, Any]) -> None:
    wrong = moved(right["k_1"], channel=0)
    with pytest.raises(InputError, match=r"^k_1 must be in memory channel 1, not 0; allocate it "):
        check_call(kernel, {**right, "k_1": wrong})


@pytest.mark.parametrize("name", ["q_0", "k_0", "k_1", "v_0", "o_0", "o_1", "factors"])
def test_too_small(kernel: Any, right: dict[str, Any], name: str) -> None:
    size = right[name].size
    wrong = moved(right[name], size=size - 1)
    message = rf"^{name} must be a buffer of at least {size} bytes for this call, not {size - 1};"
    with pytest.raises(InputError, match=message):
        check_call(kernel, {**right, name: wrong})


def test_too_small_table(kernel: Any, right: dict[str, Any]) -> None:
    table = Buffer(0, 11, 0, 99, None)
    with pytest.raises(InputError, match=r"^table must be a buffer of at least 12 bytes for this"):
        check_call(kernel, {**right, "flags": 3, "table": table})
    check_call(kernel, {**right, "flags": 3, "table": moved(table, size=12)})


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"flags": 12}, Code.KIND, "flags must be 0 to 4 or 8 to 11, not 12"),
        ({"flags": 16}, Code.KIND, "flags must be 0 to 4 or 8 to 11, not 16"),
        (
            {"flags": -1, "table": Buffer(0, 12, 0, 99, None), "chunks": 1},
            Code.KIND,
            "flags must be 0 to 4 or 8 to 11, not -1",
        ),
        ({"heads": 0}, Code.HEADS, "heads must be 1 to 8, not 0"),
        ({"heads": 9}, Code.HEADS, "heads must be 1 to 8, not 9"),
        ({"kv_heads": 0}, Code.HEADS, "kv_heads must be 1 to 8, not 0"),
        ({"kv_heads": 3}, Code.HEADS, "heads must be a multiple of kv_heads, and 2 is none of 3"),
        ({"n_q": 0}, Code.QUERIES, "n_q must be 1 to 64, not 0"),
        ({"n_q": 65}, Code.QUERIES, "n_q must be 1 to 64, not 65"),
        ({"n_kv": 0}, Code.KEYS, "n_kv must be 1 to 64, not 0"),
        ({"n_kv": 65}, Code.KEYS, "n_kv must be 1 to 64, not 65"),
        ({"q_start": 65}, Code.START, "q_start must be -64 to 64, not 65"),
        ({"q_start": -65}, Code.START, "q_start must be -64 to 64, not -65"),
        ({"flags": 0}, Code.START, "q_start must be 0 without causal, not 4"),
        ({"head_dim": 0}, Code.HEAD_DIM, "head_dim must be 1 to 8, not 0"),
        ({"head_dim": 12}, Code.HEAD_DIM, "head_dim must be 1 to 8, not 12"),
        ({"head_dim": 6}, Code.HEAD_DIM, "head_dim must be a multiple of 4, not 6"),
        ({"query_bits": 1}, Code.BITS, "query_bits must be 2 to 8, not 1"),
        ({"query_bits": 9}, Code.BITS, "query_bits must be 2 to 8, not 9"),
    ],
)
def test_refused(
    kernel: Any, right: dict[str, Any], changes: dict[str, Any], code: Code, message: str
) -> None:
    with pytest.raises(RefusedError, match=f"^{message}") as info:
        check_call(kernel, {**right, **changes})
    assert info.value.code == code


@pytest.mark.parametrize("name", ["q_0", "k_0", "o_0", "factors"])
def test_overlap(kernel: Any, right: dict[str, Any], name: str) -> None:
    whole = Buffer(0, 512, 0, 99, None)
    changes = {"o_0": whole, name: moved(whole, offset=256, size=max(256, right[name].size))}
    if name == "o_0":
        changes = {"o_0": whole, "q_0": moved(whole, offset=511, size=256)}
    with pytest.raises(RefusedError, match=r"^o_0 must share no byte with another argument, and"):
        check_call(kernel, {**right, **changes})


def test_inputs_may_overlap(kernel: Any, right: dict[str, Any]) -> None:
    both = moved(right["q_0"], size=512)
    check_call(kernel, {**right, "q_0": both, "k_0": both})


class TestSelection:
    def test_allowed(self, kernel: Any, right: dict[str, Any]) -> None:
        """A row of a beat for each of two blocks of two heads."""
        rows = moved(right["factors"], size=64, allocation=99)
        check_call(kernel, {**right, "flags": 9, "selection": rows})
        with pytest.raises(InputError, match=r"^selection must be a buffer of at least 64 bytes f"):
            check_call(kernel, {**right, "flags": 9, "selection": moved(rows, size=63)})

    def test_missing(self, kernel: Any, right: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"^A call must have the arguments selection; add th"):
            check_call(kernel, {**right, "flags": 9})

    def test_overlap(self, kernel: Any, right: dict[str, Any]) -> None:
        rows = moved(right["o_0"], size=64)
        with pytest.raises(RefusedError, match=r"^o_0 must share no byte with another argument, "):
            check_call(kernel, {**right, "flags": 9, "selection": rows})

    def test_a_chip_without(self, kernel: Any, right: dict[str, Any]) -> None:
        plain = Kernel(**{**kernel.parameters, "sparse": False, "gemm": False})
        assert "selection" not in argument_channels(plain)
        with pytest.raises(RefusedError, match=r"^flags must be 0 to 3, not 9"):
            check_call(plain, {**right, "flags": 9})


class TestProduct:
    def test_allowed(self, kernel: Any, product: dict[str, Any]) -> None:
        check_call(kernel, product)

    @pytest.mark.parametrize("name", ["q_0", "k_0", "k_1", "o_0", "o_1", "factors"])
    def test_too_small(self, kernel: Any, product: dict[str, Any], name: str) -> None:
        size = product[name].size
        with pytest.raises(InputError, match=rf"^{name} must be a buffer of at least {size} bytes"):
            check_call(kernel, {**product, name: moved(product[name], size=size - 1)})

    def test_missing(self, kernel: Any, product: dict[str, Any]) -> None:
        del product["chunks"]
        with pytest.raises(InputError, match=r"^A call must have the arguments chunks; add them$"):
            check_call(kernel, product)

    @pytest.mark.parametrize(
        ("changes", "code", "message"),
        [
            ({"flags": 5}, Code.KIND, "flags must be 0 to 4 or 8 to 11, not 5"),
            ({"chunks": 0}, Code.CHUNKS, "chunks must be 1 to 8, not 0"),
            ({"chunks": 9}, Code.CHUNKS, "chunks must be 1 to 8, not 9"),
            ({"n_kv": 15}, Code.KEYS, "n_kv of a product must be heads .* channels, 16, not 15"),
            ({"q_start": 1}, Code.START, "q_start must be 0 without causal, not 1"),
        ],
    )
    def test_refused(
        self, kernel: Any, product: dict[str, Any], changes: Any, code: Code, message: str
    ) -> None:
        with pytest.raises(RefusedError, match=f"^{message}") as info:
            check_call(kernel, {**product, **changes})
        assert info.value.code == code
