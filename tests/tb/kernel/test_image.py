"""Tensors in memory: every byte where the layout says, and guards around."""

import numpy as np
import pytest

from qkloom.tb.kernel.image import (
    CHANNEL_BYTES,
    PAGE,
    Image,
    factor_table,
    from_channels,
    n_bytes,
    read_bytes,
    selection_rows,
    to_channels,
)

BLOCK = 8


def tensor(heads, tokens, head_dim, low=-128, high=128):
    rng = np.random.default_rng(tokens)
    return rng.integers(low, high, (heads, tokens, head_dim)).astype(np.int8)


def place_of(head, token, tokens, head_dim, n_channels, places=None):
    """Return channel and offset of a token's first element, in elements."""
    number = head * -(-tokens // BLOCK) + token // BLOCK
    if places is not None:
        number = places[number]
    return number % n_channels, (number // n_channels * BLOCK + token % BLOCK) * head_dim


@pytest.mark.parametrize("n_channels", [1, 2, 4])
@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 24])
class TestChannels:
    def test_bytes(self, tokens, n_channels):
        x = tensor(3, tokens, 16)
        parts = to_channels(x, block=BLOCK, n_channels=n_channels)
        for head, token in np.ndindex(3, tokens):
            channel, start = place_of(head, token, tokens, 16, n_channels)
            found = parts[channel][start : start + 16].view(np.int8)
            assert (found == x[head, token]).all()
        # The last block of a head is filled up with zeros.
        assert sum(map(np.count_nonzero, parts)) == np.count_nonzero(x)

    def test_half_bytes(self, tokens, n_channels):
        x = tensor(2, tokens, 16, -8, 8)
        parts = to_channels(x, block=BLOCK, n_channels=n_channels, width=4)
        for head, token in np.ndindex(2, tokens):
            channel, start = place_of(head, token, tokens, 16, n_channels)
            found = parts[channel][start // 2 : start // 2 + 8]
            assert (found & 15 == x[head, token, ::2] & 15).all()
            assert (found >> 4 == x[head, token, 1::2] & 15).all()

    def test_block_table(self, tokens, n_channels):
        x = tensor(2, tokens, 16)
        n_blocks = 2 * -(-tokens // BLOCK)
        places = np.random.default_rng(0).permutation(n_blocks + 5)[:n_blocks]
        parts = to_channels(x, block=BLOCK, n_channels=n_channels, places=places)
        for head, token in np.ndindex(2, tokens):
            channel, start = place_of(head, token, tokens, 16, n_channels, places)
            found = parts[channel][start : start + 16].view(np.int8)
            assert (found == x[head, token]).all()

    @pytest.mark.parametrize("width", [4, 8])
    def test_sizes(self, tokens, n_channels, width):
        x = tensor(3, tokens, 16, -8, 8)
        parts = to_channels(x, block=BLOCK, n_channels=n_channels, width=width)
        shape = {"heads": 3, "tokens": tokens, "head_dim": 16, "block": BLOCK}
        assert n_bytes(**shape, n_channels=n_channels, width=width) == list(map(len, parts))

    def test_outputs(self, tokens, n_channels):
        shape = {"heads": 3, "tokens": tokens, "head_dim": 16, "block": BLOCK}
        wanted = np.random.default_rng(1).integers(-(1 << 23), 1 << 23, (3, tokens, 16))
        sizes = n_bytes(**shape, n_channels=n_channels, width=32)
        parts = [np.full(size, 0xA5, np.uint8) for size in sizes]
        for head, token in np.ndindex(3, tokens):
            channel, start = place_of(head, token, tokens, 16, n_channels)
            row = wanted[head, token].astype("<i4").view(np.uint8)
            parts[channel][4 * start : 4 * start + 64] = row
        assert (from_channels(parts, **shape) == wanted).all()


class TestImage:
    def image(self):
        image = Image(2)
        first = image.add(0, np.arange(100, dtype=np.uint8))
        second = image.add(0, np.arange(PAGE, dtype=np.uint64).astype(np.uint8))
        third = image.reserve(1, 5000)
        memory = [np.zeros(size, np.uint8) for size in image.sizes]
        image.write(memory)
        return image, memory, (first, second, third)

    def test_addresses(self):
        image, memory, addresses = self.image()
        # A page of guards, then a buffer in whole pages, then guards again.
        assert addresses == (PAGE, 3 * PAGE, CHANNEL_BYTES + PAGE)
        assert image.sizes == [5 * PAGE, 4 * PAGE]
        assert (read_bytes(memory, addresses[0], 100) == np.arange(100)).all()
        assert len(read_bytes(memory, addresses[2], 5000)) == 5000

    def test_all_else_is_guards(self):
        _, memory, _ = self.image()
        assert (memory[0][:PAGE] == 0xA5).all()
        assert (memory[0][PAGE + 100 : 3 * PAGE] == 0xA5).all()
        assert (memory[0][4 * PAGE :] == 0xA5).all()
        assert (memory[1] == 0xA5).all()

    def test_nothing_has_changed(self):
        image, memory, (_, _, output) = self.image()
        assert image.changed(memory) == []
        read_bytes(memory, output, 5000)[:] = 1
        assert image.changed(memory) == []

    @pytest.mark.parametrize(
        ("channel", "offset"),
        [
            (0, 0),
            (0, PAGE - 1),
            (0, PAGE),
            (0, PAGE + 100),
            (0, 4 * PAGE),
            (1, PAGE - 1),
            (1, PAGE + 5000),
            (1, 4 * PAGE - 1),
        ],
    )
    def test_a_change(self, channel, offset):
        image, memory, _ = self.image()
        memory[channel][offset] ^= 1
        assert image.changed(memory) == [channel * CHANNEL_BYTES + offset]

    def test_shows_a_few_of_many(self):
        image, memory, _ = self.image()
        memory[1][:100] = 0
        assert image.changed(memory) == [CHANNEL_BYTES + k for k in range(8)]


def test_selection_rows():
    mask = np.zeros((1, 2, 11), bool)
    mask[0, 0, [0, 9]] = mask[0, 1, 10] = True
    assert selection_rows(mask, 4).tolist() == [1, 2, 0, 0, 0, 4, 0, 0]


def test_factor_table():
    table = factor_table(np.array([1, 0x12345]), np.array([7, 40]))
    assert table.dtype == np.uint8
    assert table.view("<u4").tolist() == [1, 7, 0x12345, 40]
