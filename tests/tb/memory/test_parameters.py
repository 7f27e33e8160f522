"""What a memory may be, and what follows from its parameters."""

import pytest

from qkloom.tb.memory import Fault, MemoryModel
from qkloom.tb.memory.parameters import UNITS


def test_defaults_are_a_u280():
    model = MemoryModel()
    assert model.n_channels * model.channel_bytes == 8 << 30
    assert model.n_channels * model.bandwidth == 460_000_000_000
    assert model.channel_bits == 28
    assert model.faults == ()


def test_times_follow_from_the_clock():
    timing = MemoryModel(clock_hz=250_000_000).timing  # 4 ns
    assert timing.refresh_interval == 975 * UNITS
    assert timing.refresh == 65 * UNITS
    assert timing.activate == timing.precharge == 4 * UNITS
    assert timing.atom == 32 * 250_000_000 * UNITS // 14_375_000_000
    assert MemoryModel(clock_hz=450_000_000).timing.atom > UNITS  # just so


def test_seeds():
    assert MemoryModel(seed=1).key("x") != MemoryModel(seed=2).key("x")
    assert MemoryModel().key("x") == MemoryModel().key("x") != MemoryModel().key("y")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clock_hz": 0}, r"clock_hz must be a positive integer, not 0$"),
        ({"n_channels": 0}, r"n_channels must be a positive integer, not 0$"),
        ({"bandwidth": -1}, r"bandwidth must be a positive integer, not -1$"),
        ({"latency": 0}, r"latency must be a positive integer, not 0$"),
        ({"outstanding": 0}, r"outstanding must be a positive integer, not 0$"),
        ({"write_buffer": 0}, r"write_buffer must be a positive integer, not 0$"),
        ({"outstanding": 257}, r"outstanding must be at most 256, not 257$"),
        ({"channel_bytes": 12288}, r"channel_bytes must be a power of two from 4096, not 12288$"),
        ({"channel_bytes": 2048}, r"channel_bytes must be a power of two from 4096, not 2048$"),
        ({"storage_bytes": 100}, r"storage_bytes must be a multiple of 4096 up to 268435456, not"),
        ({"storage_bytes": 1 << 29}, r"storage_bytes must be a multiple of 4096 up to 2684354"),
        ({"refresh_ps": 3_900_000}, r"refresh_ps must be less than 3900000, not 3900000$"),
        ({"narrow": (32,)}, r"narrow must be channels, 0 to 31, not \(32,\)$"),
        ({"narrow_bandwidth": 0}, r"narrow_bandwidth must be a positive integer, not 0$"),
        ({"order": "any"}, r"order must be one of in order, bursts, beats, not 'any'$"),
    ],
)
def test_errors(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MemoryModel(**parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "okay"}, r"A fault must be slverr, decerr or stall, not 'okay'$"),
        (
            {"kind": "slverr", "direction": "up"},
            r"A direction must be read, write or both, not 'up'$",
        ),
        ({"kind": "stall"}, r"A fault that stalls must name the beat at which it does$"),
    ],
)
def test_faults(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Fault(**parameters)
