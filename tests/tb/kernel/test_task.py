"""A call becomes registers and memory, and the bytes that it must move."""

import numpy as np
import pytest

from qkloom.gen.call import build_core, prepare
from qkloom.gen.chip import read_chip
from qkloom.rtl.kernel.kernel import Kernel
from qkloom.tb.core import program
from qkloom.tb.kernel.image import CHANNEL_BYTES, PAGE, Image
from qkloom.tb.kernel.task import place, planned_bytes, planned_selection_bytes, row_bytes

CHIP = read_chip(
    {
        "name": "mini",
        "lanes": [{"matrix": "plain", "n": 2}],
        "clock_mhz": 175.0,
        "size": 4,
        "block": 8,
        "head_dim": 16,
        "tokens": 128,
        "heads": 8,
        "sparse": True,
        "memory": {"channels": 8},
    }
)
CAUSAL, TABLE, SPARSE = 1, 2, 8


@pytest.fixture(scope="module")
def kernel():
    return Kernel(**CHIP.kernel_parameters)


def call(heads, kv_heads, n_q, n_kv, head_dim, **options):
    rng = np.random.default_rng(n_q)
    q = rng.normal(size=(heads, n_q, head_dim))
    k, v = rng.normal(size=(2, kv_heads, n_kv, head_dim))
    return prepare(CHIP, q, k, v, **options).call


class TestPlace:
    def test_arguments(self, kernel):
        given = call(4, 2, 9, 20, 16, causal=True, q_start=-3)
        task = place(kernel, given, Image(8))
        names = {register.name for register in kernel.arguments}
        assert set(task.arguments) == names - {"table", "selection"}
        scalars = {
            "flags": CAUSAL,
            "heads": 4,
            "kv_heads": 2,
            "n_q": 9,
            "n_kv": 20,
            "q_start": -3,
            "head_dim": 16,
            "query_bits": 8,
        }
        assert {name: task.arguments[name] for name in scalars} == scalars
        pointers = [value for name, value in task.arguments.items() if name not in scalars]
        assert not any(address % PAGE for address in pointers)
        assert len(set(pointers)) == len(pointers)

    def test_each_part_is_on_its_channel(self, kernel):
        task = place(kernel, call(2, 2, 9, 20, 16), Image(8))
        for name, channels in kernel.channels.items():
            for part, channel in enumerate(channels):
                assert task.arguments[f"{name}_{part}"] // CHANNEL_BYTES == channel
        tables = kernel.channels["q"][0]
        assert task.arguments["factors"] // CHANNEL_BYTES == tables
        assert task.arguments["flags"] == 0

    def test_block_table(self, kernel):
        places = np.array([4, 0, 9, 2, 1, 3])
        image = Image(8)
        task = place(kernel, call(2, 2, 9, 20, 16), image, places)
        assert task.arguments["flags"] == TABLE
        memory = [np.zeros(size, np.uint8) for size in image.sizes]
        image.write(memory)
        channel, offset = divmod(task.arguments["table"], CHANNEL_BYTES)
        assert channel == kernel.channels["q"][0]
        assert memory[channel][offset : offset + 24].view("<u4").tolist() == places.tolist()

    def test_selection(self, kernel):
        """A row for each block of queries, head by head, as far apart as a beat is long."""
        mask = np.random.default_rng(1).random((2, 3, 9)) < 0.5
        image = Image(8)
        task = place(kernel, call(2, 2, 17, 70, 16, block_mask=mask), image)
        assert task.arguments["flags"] == SPARSE
        memory = [np.zeros(size, np.uint8) for size in image.sizes]
        image.write(memory)
        channel, offset = divmod(task.arguments["selection"], CHANNEL_BYTES)
        assert channel == kernel.channels["q"][0]
        assert row_bytes(kernel) == CHIP.data_width // 8 == 16
        rows = memory[channel][offset : offset + 6 * 16].reshape(2, 3, 16)
        for block in range(9):
            assert (rows[..., block // 8] >> block % 8 & 1 == mask[..., block]).all()

    def test_result(self, kernel):
        """Outputs are read from where the registers point."""
        given = call(2, 2, 17, 20, 16)
        image = Image(8)
        task = place(kernel, given, image)
        memory = [np.zeros(size, np.uint8) for size in image.sizes]
        n = len(kernel.channels["o"])
        assert [address for address, _ in task.outputs] == [
            task.arguments[f"o_{k}"] for k in range(n)
        ]
        for number in range(6):  # three blocks for each head
            channel, offset = divmod(task.arguments[f"o_{number % n}"], CHANNEL_BYTES)
            start = offset + number // n * 8 * 16 * 4
            memory[channel][start : start + 8 * 16 * 4].view("<i4")[:] = number - 3
        expected = np.repeat(np.arange(6).reshape(2, 3) - 3, 8, axis=1)[:, :17]
        assert (task.result(memory) == expected[..., None]).all()


class TestPlannedBytes:
    @pytest.mark.parametrize(
        ("shape", "options", "expected"),
        [
            # A block of queries; keys and values once.
            ((1, 1, 8, 8, 16), {}, {"q": 128, "k": 128, "v": 128, "o": 512}),
            # Beats of 16 bytes: what a token of 4 bytes leaves of one is read too.
            ((1, 1, 1, 1, 4), {}, {"q": 16, "k": 16, "v": 16, "o": 16}),
            ((1, 1, 8, 5, 4), {}, {"q": 32, "k": 32, "v": 32, "o": 128}),
            # Two blocks on two lanes share a round; three need another one.
            ((1, 1, 16, 8, 16), {}, {"q": 256, "k": 128, "v": 128, "o": 1024}),
            ((1, 1, 24, 8, 16), {}, {"q": 384, "k": 256, "v": 256, "o": 1536}),
            # Two KV heads in a round; one that two query heads share.
            ((2, 2, 8, 8, 16), {}, {"q": 256, "k": 256, "v": 256, "o": 1024}),
            ((2, 1, 8, 8, 16), {}, {"q": 256, "k": 128, "v": 128, "o": 1024}),
            # Up to the last key that one of both sees, in whole tiles of 4.
            ((1, 1, 16, 16, 16), {"causal": True}, {"q": 256, "k": 256, "v": 256, "o": 1024}),
            (
                (1, 1, 8, 64, 16),
                {"causal": True, "q_start": 2},
                {"q": 128, "k": 192, "v": 192, "o": 512},
            ),
            # Rows that see nothing take a tile all the same.
            (
                (1, 1, 8, 64, 16),
                {"causal": True, "q_start": -100},
                {"q": 128, "k": 64, "v": 64, "o": 512},
            ),
        ],
    )
    def test_by_hand(self, kernel, shape, options, expected):
        assert planned_bytes(kernel, call(*shape, **options)) == expected

    @pytest.mark.parametrize(
        ("mask", "options", "tokens"),
        [
            # Nothing selected takes a tile all the same.
            ([[0, 0, 0], [0, 0, 0]], {}, 4),
            # Both lanes share a block, and each has one of its own.
            ([[1, 1, 0], [0, 1, 1]], {}, 20),
            # Of a block that is hidden from one of them the other one takes what it sees.
            ([[0, 0, 1], [1, 0, 1]], {"causal": True}, 8),
            # The first one does not see what it selects; the other one sees half a tile of it.
            ([[0, 0, 1], [0, 0, 1]], {"causal": True, "q_start": 2}, 4 + 4),
        ],
    )
    def test_selections_by_hand(self, kernel, mask, options, tokens):
        given = call(1, 1, 16, 20, 16, block_mask=np.array(mask, bool), **options)
        planned = planned_bytes(kernel, given)
        assert planned == {"q": 256, "k": 16 * tokens, "v": 16 * tokens, "o": 1024}

    def test_rows_of_a_selection(self, kernel):
        given = call(4, 2, 20, 128, 16, block_mask=np.ones((3, 16), bool))
        assert planned_selection_bytes(kernel, given) == 4 * 3 * 16
        assert planned_selection_bytes(kernel, call(4, 2, 20, 128, 16)) == 0

    def test_rows_of_many_beats(self):
        """Of a row only what the block of queries may see is read: a beat is 128 blocks."""
        long = Kernel(**CHIP.replace(tokens=8192).kernel_parameters)
        assert row_bytes(long) == 128
        tensors = np.zeros((1, 16, 16)), np.zeros((1, 8192, 16)), np.zeros((1, 8192, 16))
        prepared = prepare(
            CHIP.replace(tokens=8192),
            *tensors,
            causal=True,
            q_start=128 * 8 - 8,
            block_mask=np.zeros((2, 1024), bool),
        )
        assert planned_selection_bytes(long, prepared.call) == (1 + 2) * 16

    @pytest.mark.parametrize(
        ("shape", "options"),
        [
            ((8, 2, 33, 64, 16), {}),
            ((4, 2, 33, 60, 16), {"block_mask": np.eye(5, 8, 2, bool)}),
            ((4, 2, 33, 60, 16), {"block_mask": np.eye(5, 8, 2, bool), "causal": True}),
            ((6, 2, 20, 44, 16), {"causal": True, "q_start": 24}),
            ((3, 3, 16, 32, 8), {"causal": True, "q_start": -4}),
        ],
    )
    def test_are_the_rows_of_the_streams(self, kernel, shape, options):
        given = call(*shape, **options)
        bench = program(build_core(CHIP), given, max_cycles=1)
        planned = planned_bytes(kernel, given)
        for name, stream in (("q", "i_query"), ("k", "i_key"), ("v", "i_value")):
            assert planned[name] == 4 * len(bench.inputs[stream].values)
