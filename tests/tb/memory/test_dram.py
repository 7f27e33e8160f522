"""When the data bus of a pseudo-channel carries what."""

import pytest

from qkloom.tb.memory.dram import Dram
from qkloom.tb.memory.parameters import Timing

TIMING = Timing(
    atom=10,
    refresh_interval=100_000,
    refresh=5_000,
    activate=60,
    precharge=70,
    row_cycle=400,
    turnaround=33,
)


@pytest.fixture
def dram():
    return Dram(TIMING, 100_000)


def read(dram, offset, arrival):
    return dram.access(offset, arrival, writes=False)


def test_rows(dram):
    assert read(dram, 0, 1000) == 1000 + 60 + 10  # no row was open
    assert read(dram, 64, 1000) == 1080  # the same row, right behind it
    assert read(dram, 64, 5000) == 5010
    assert read(dram, 1 << 14, 6000) == 6000 + 70 + 60 + 10  # another one in its place
    counters = dram.counters
    assert (counters.hits, counters.opened, counters.conflicts) == (2, 1, 1)
    assert (counters.reads, counters.writes, counters.busy) == (4, 0, 40)


def test_row_opens_while_the_bus_is_busy(dram):
    ends = [read(dram, 64 * n, 0) for n in range(16)]
    assert ends == [70 + 10 * n for n in range(16)]
    assert read(dram, 1024 * 2, 0) == 230  # another bank: it had 220 to open its row
    assert dram.counters.opened == 2


def test_a_bank_opens_rows_no_faster_than_it_may(dram):
    read(dram, 0, 0)
    assert read(dram, 1 << 14, 100) == 400 + 70 + 60 + 10


def test_banks():
    """32 bytes apart are banks of another group; a row of each of them is 2 KB of addresses."""
    for offset, opened in ((32, 2), (64, 1), (2048, 2), (2047, 2), (1 << 13, 2), (1984, 1)):
        dram = Dram(TIMING, 100_000)
        read(dram, 0, 0)
        read(dram, offset, 0)
        assert (dram.counters.opened, dram.counters.conflicts) == (opened, 0), offset


def test_turning_around(dram):
    assert read(dram, 0, 0) == 70
    assert dram.access(64, 0, writes=True) == 70 + 33 + 10
    assert dram.access(128, 0, writes=True) == 123
    assert read(dram, 192, 0) == 123 + 33 + 10
    assert read(dram, 192, 1000) == 1010  # long ago
    assert (dram.counters.reads, dram.counters.writes) == (3, 2)


def test_refresh_closes_all_rows(dram):
    read(dram, 0, 99_900)
    assert read(dram, 64, 99_999) == 100_009  # begun before
    assert read(dram, 64, 100_001) == 105_000 + 60 + 10
    assert read(dram, 64, 100_001) == 105_080
    assert dram.counters.refreshes == 1
    assert read(dram, 64, 350_000) == 350_070  # two more were due, and the rows are closed
    assert dram.counters.refreshes == 3
