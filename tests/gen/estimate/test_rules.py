import pytest

from qkloom.gen.estimate.rules import Storage, multiplier_slices, storage_counts

# What Yosys 0.70 makes of memories of one write and one read port: width, depth, bits that can be
# written on their own, whether reads have a clock; columns of the result.
SYNTHESIZED = [
    (1, 4, 1, True, {"lut": 8, "lutram": 8, "ff": 1}),
    (1, 128, 1, True, {"lut": 19, "lutram": 16, "ff": 1}),
    (1, 2, 1, False, {"lut": 3, "ff": 2}),
    (4, 512, 4, True, {"lut": 84, "lutram": 64, "ff": 4}),
    (4, 1024, 4, True, {"bram36": 0.5}),
    (8, 64, 8, True, {"lut": 16, "lutram": 16, "ff": 8}),
    (8, 300, 8, True, {"lut": 101, "lutram": 80, "ff": 8}),
    (8, 512, 8, True, {"bram36": 0.5}),
    (8, 4096, 8, True, {"bram36": 1}),
    (16, 128, 16, True, {"lut": 66, "lutram": 48, "ff": 16}),
    (16, 256, 16, True, {"bram36": 0.5}),
    (19, 32, 19, False, {"lut": 16, "lutram": 16}),
    (36, 1024, 36, True, {"bram36": 1}),
    (64, 64, 64, False, {"lut": 80, "lutram": 80}),
    (72, 4096, 72, True, {"bram36": 8}),
    (73, 128, 73, True, {"lut": 251, "lutram": 176, "ff": 73}),
    (73, 256, 73, True, {"bram36": 1.5}),
    (73, 1024, 73, True, {"bram36": 2.5}),
    (100, 1024, 100, True, {"bram36": 3}),
    (32, 32, 4, True, {"lut": 64, "lutram": 64, "ff": 32}),
    (32, 256, 4, True, {"bram36": 1}),
    (32, 128, 8, True, {"bram36": 0.5}),
    (64, 128, 4, True, {"lut": 352, "lutram": 256, "ff": 64}),
    (128, 64, 16, True, {"lut": 192, "lutram": 192, "ff": 128}),
    (256, 512, 32, True, {"bram36": 4}),
]


@pytest.mark.parametrize(("width", "depth", "grain", "clocked", "counts"), SYNTHESIZED)
def test_memories(width, depth, grain, clocked, counts):
    memory = Storage(
        width=width, depth=depth, grain=grain, clocked_reads=clocked, free_reads=not clocked
    )
    assert {name: n for name, n in storage_counts(memory).items() if n} == counts


def test_styles():
    def counts(style, width=72, depth=4096):
        memory = Storage(
            width=width, depth=depth, grain=width, clocked_reads=1, free_reads=0, style=style
        )
        return {name: n for name, n in storage_counts(memory).items() if n}

    assert counts("ultra") == {"uram": 1}
    assert counts("ultra", 128) == {"uram": 2}
    assert counts("ultra", 72, 16384) == {"uram": 4}
    assert counts("block", 4, 4) == {"bram36": 0.5}
    assert counts("distributed", 7, 512) == {"lutram": 64, "lut": 64 + 29, "ff": 7}


def test_memory_that_nobody_reads():
    memory = Storage(width=8, depth=512, grain=8, clocked_reads=0, free_reads=0)
    assert not storage_counts(memory)


@pytest.mark.parametrize(
    ("a", "b", "product", "slices"),
    [
        ((8, True), (8, True), 16, 1),
        ((27, True), (18, True), 45, 1),
        ((27, False), (18, True), 45, 2),
        ((23, True), (17, False), 40, 1),
        ((23, True), (18, False), 41, 2),
        ((4, True), (4, True), 8, 0),
        ((5, True), (4, True), 9, 1),
        ((1, False), (16, True), 17, 0),
    ],
)
def test_products(a, b, product, slices):
    assert multiplier_slices(a, b, product) == multiplier_slices(b, a, product) == slices
