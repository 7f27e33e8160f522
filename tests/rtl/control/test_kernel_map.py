import pytest

from qkloom.rtl.control import all_registers, check_registers, kernel_registers, pointer_names

CHANNELS = dict(q_channels=1, k_channels=2, v_channels=2, o_channels=1)


def test_arguments():
    arguments = kernel_registers(**CHANNELS).arguments
    assert [(r.name, r.offset, r.width) for r in arguments] == [
        ("q_0", 0x10, 64),
        ("k_0", 0x18, 64),
        ("k_1", 0x20, 64),
        ("v_0", 0x28, 64),
        ("v_1", 0x30, 64),
        ("o_0", 0x38, 64),
        ("factors", 0x40, 64),
        ("table", 0x48, 64),
        ("flags", 0x50, 32),
        ("heads", 0x54, 32),
        ("kv_heads", 0x58, 32),
        ("n_q", 0x5C, 32),
        ("n_kv", 0x60, 32),
        ("q_start", 0x64, 32),
        ("head_dim", 0x68, 32),
        ("query_bits", 0x6C, 32),
    ]
    flags = arguments[8]
    names = ("causal", "table", "gemm", "sparse")
    assert [flags.place(name) for name in names] == [0, 1, 2, 3]
    assert [r.name for r in arguments if r.is_signed] == ["q_start"]
    assert all(r.access == "rw" and r.doc for r in arguments)


def test_features():
    """A product has its chunks, a selection its place behind the other pointers."""
    plain = [register.name for register in kernel_registers(**CHANNELS).arguments]
    every = kernel_registers(**CHANNELS, gemm=True, sparse=True).arguments
    place = plain.index("table") + 1
    names = [register.name for register in every]
    assert names == [*plain[:place], "selection", *plain[place:], "chunks"]
    assert every[place].width == 64


def test_status():
    kernel = kernel_registers(
        **CHANNELS, stalls=(("keys", "of waiting"), ("output_room", "of waiting"))
    )
    assert [(r.name, r.offset, r.width) for r in kernel.status] == [
        ("version", 0x74, 32),  # the word before is the soft reset's
        ("error", 0x78, 32),
        ("calls_done", 0x7C, 32),
        ("cycles", 0x80, 64),
        ("busy_cycles", 0x88, 64),
        ("q_bytes", 0x90, 64),
        ("k_bytes", 0x98, 64),
        ("v_bytes", 0xA0, 64),
        ("o_bytes", 0xA8, 64),
        ("stall_keys", 0xB0, 64),
        ("stall_output_room", 0xB8, 64),
    ]
    assert all(r.access == "ro" and r.doc for r in kernel.status)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_is_a_map(n):
    kernel = kernel_registers(q_channels=n, k_channels=n, v_channels=n, o_channels=n)
    listed = check_registers(all_registers(*kernel), address_width=12)
    assert len({r.name for r in listed}) == len(listed)
    # XRT writes arguments word by word: none is missing between the first and the last one.
    ends = [r.end for r in kernel.arguments]
    assert [r.offset for r in kernel.arguments] == [0x10, *ends[:-1]]


def test_names():
    assert pointer_names("k", 3) == ("k_0", "k_1", "k_2")


def test_errors():
    message = r"^Channels of v must be a positive integer, not 0$"
    with pytest.raises(ValueError, match=message):
        kernel_registers(**{**CHANNELS, "v_channels": 0})
    with pytest.raises(ValueError, match=r"^Channels of q must be at most 32, not 33$"):
        kernel_registers(**{**CHANNELS, "q_channels": 33})
