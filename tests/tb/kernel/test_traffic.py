"""What moved, from counters of kernel and memory."""

from types import SimpleNamespace

from qkloom.tb.kernel.traffic import measure_traffic
from qkloom.tb.memory.counters import PortCounters

COUNTS = {
    "busy_cycles": 1000,
    "q_bytes": 320,
    "k_bytes": 640,
    "v_bytes": 640,
    "o_bytes": 1280,
    "stall_q": 1,
    "stall_k": 2,
    "stall_v": 3,
    "stall_o": 4,
}
PORTS = {
    0: PortCounters(read_bytes=1024, read_beats=32),
    1: PortCounters(read_bytes=640, read_beats=20, write_bytes=1280, write_beats=40),
    2: PortCounters(read_bytes=99999),  # of a channel that the kernel does not have
}


def measure(**changes):
    counts = {**COUNTS, **changes}
    return measure_traffic(
        SimpleNamespace(n_channels=2),
        SimpleNamespace(read=counts.__getitem__),
        SimpleNamespace(counters=PORTS),
    )


def test_what_no_tensor_is_must_be_tables():
    traffic = measure()
    assert traffic.n_bytes == {"q": 320, "k": 640, "v": 640, "o": 1280, "tables": 64}
    assert traffic.stalls == {"q": 1, "k": 2, "v": 3, "o": 4}


def test_channels():
    first, second = measure().channels
    assert (first["read"], first["written"], first["occupancy"]) == (1024, 0, 0.032)
    assert (second["read"], second["written"], second["occupancy"]) == (640, 1280, 0.06)
    assert first["read_beats"] == 32 and second["write_beats"] == 40


def test_no_call_yet():
    assert measure(busy_cycles=0).channels[0]["occupancy"] == 32
