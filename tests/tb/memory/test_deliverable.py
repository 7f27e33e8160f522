"""What the model delivers at best."""

import pytest

from qkloom.tb.memory import MemoryModel, deliverable, peak_bytes
from qkloom.tb.stalls import Stall

AT_450 = MemoryModel(clock_hz=450_000_000)


def test_peak_is_of_the_narrower():
    assert peak_bytes(MemoryModel(), 256) == 32
    assert peak_bytes(MemoryModel(), 512) == pytest.approx(14.375 / 0.3)


@pytest.mark.parametrize("direction", ["read", "write"])
def test_refreshes_take_their_share(direction):
    """Shuhai measured 425 of 460 GB/s."""
    share = deliverable(AT_450, direction, cycles=8775)
    assert share == pytest.approx(1 - 260 / 3900, abs=0.01)
    assert share == pytest.approx(425 / 460, abs=0.02)


def test_narrow_port_is_never_behind():
    assert deliverable(MemoryModel(), cycles=3000) == pytest.approx(1, abs=0.005)


def test_gaps_take_their_share():
    model = MemoryModel(gaps=Stall(0.25))
    assert deliverable(model, cycles=4000) == pytest.approx(0.75, abs=0.02)


def test_short_bursts_in_a_row():
    assert deliverable(MemoryModel(), beats=1, cycles=2000) < 0.5  # 32 outstanding, 100 cycles


def test_error():
    with pytest.raises(ValueError, match=r"^A burst must have at most 4096 bytes, not 8192$"):
        deliverable(MemoryModel(), beats=256)
