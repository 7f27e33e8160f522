import numpy as np
import pytest

from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.lane.exp2 import exp2

SETTINGS = [
    (p_width, segments, fraction)
    for p_width in (7, 8, 12, 14, 15, 16)
    for segments in (4, 8, 32, 64)
    for fraction in (6, 8, 10, 12)
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_code(setting):
    p_width, segments, fraction = setting
    n = Numerics(
        size=4, head_dim=4, tokens=64, p_width=p_width, segments=segments, fraction=fraction
    )
    y = np.arange((p_width + 4) << fraction)
    p = exp2(y, n)
    # The lowered chord is off by half the largest distance of curve and chord. On top come half a
    # place of the result and three times half a place of the guard bits: base, slope, product.
    exact = 2.0 ** -(y / (1 << fraction)) * n.p_max
    chord = (np.log(2) / segments) ** 2 / 16 * 2 ** (0.5 / segments) * 1.02
    assert (abs(p - exact) <= chord * exact + 0.5 + 3 / 8).all()
    assert p.min() == 0
    assert p.max() <= n.p_max
    # It falls, but for a place where segments meet, and more where few segments are used finely.
    assert np.diff(p).max() <= (7 if segments == 4 else 1)
    assert p[n.n_max + 1 << fraction :].max() == 0


def test_far_beyond_the_table():
    n = Numerics(size=4, head_dim=4, tokens=64)
    assert exp2([0, 1 << 30, (1 << 62)], n).tolist()[1:] == [0, 0]
