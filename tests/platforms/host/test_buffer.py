import random

import pytest

from qkloom.platforms.host import PAGE, Buffer
from qkloom.platforms.host.buffer import Region
from qkloom.tb.errors import InputError


class TestBuffer:
    @pytest.mark.parametrize(
        ("offset", "size", "allocation", "shares"),
        [
            (0, 100, 0, False),
            (0, 101, 0, True),
            (149, 1, 0, True),
            (150, 9, 0, False),
            (0, 999, 0, True),
            (100, 50, 1, False),
        ],
    )
    def test_overlap(self, offset: int, size: int, allocation: int, shares: bool) -> None:
        buffer = Buffer(0, 50, 100, 0, None)
        other = Buffer(0, size, offset, allocation, None)
        assert buffer.overlaps(other) == other.overlaps(buffer) == shares


class TestRegion:
    def test_buffers_are_aligned_and_apart(self) -> None:
        region = Region(1 << 20)
        rng = random.Random(1)
        taken: dict[int, int] = {}
        for _ in range(300):
            if taken and rng.random() < 0.45:
                offset = rng.choice(list(taken))
                region.give_back(offset)
                del taken[offset]
                continue
            size = rng.choice([1, PAGE, PAGE + 1, 20_000])
            try:
                offset = region.take(size)
            except InputError:
                continue
            taken[offset] = size
            assert offset % PAGE == 0
            ends = [0]
            for first in sorted(taken):
                assert first - ends[-1] >= PAGE
                ends.append(first + taken[first])
            assert ends[-1] + PAGE <= 1 << 20
        assert len(taken) > 10

    def test_all_of_a_channel_can_be_used_again(self) -> None:
        region = Region(8 * PAGE)
        for _ in range(3):
            assert region.take(6 * PAGE) == PAGE
            region.give_back(PAGE)

    def test_full(self) -> None:
        region = Region(8 * PAGE)
        message = r"^A buffer of 24,577 bytes must fit, in one piece, into what is left of a chan"
        with pytest.raises(InputError, match=message):
            region.take(6 * PAGE + 1)
        region.take(5 * PAGE)
        with pytest.raises(InputError, match=r"^A buffer of 1 bytes must fit"):
            region.take(1)
