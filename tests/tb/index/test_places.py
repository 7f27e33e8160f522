"""Codes of places: their product, and how high a distance must score."""

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.places import Places


def codes(kind, tokens=2000, pairs=32):
    rng = np.random.default_rng(5)
    if kind == "sharp":
        return Places.sharp(pairs, tokens, rng)
    return Places.broad(pairs, tokens, 60.0, rng)


@pytest.mark.parametrize("kind", ["sharp", "broad"])
def test_product_is_of_the_distance(kind):
    places = codes(kind)
    code = places.code(np.arange(-10, 1990)).astype(float)
    np.testing.assert_allclose((code**2).sum(axis=1), 1, atol=1e-6)
    expected = places.product()[np.abs(np.arange(2000) - 700)]
    np.testing.assert_allclose(code @ code[700], expected, atol=2e-5)


def test_sharp_and_broad():
    sharp, broad = codes("sharp").product(), codes("broad").product()
    assert np.abs(sharp[1:]).max() < 0.6
    assert broad[30] > 0.8
    assert np.abs(broad[300:]).max() < 0.6


def test_sums():
    places = codes("sharp")
    weights = np.cumsum(np.exp(10 * places.product()))
    at = np.array([0, 1, 17, 400, 1999])
    np.testing.assert_allclose(places.weights_to(at)[20], weights[at], rtol=0.02)


@pytest.mark.parametrize(("place", "distance"), [(1999, 3), (1999, 1500), (700, 100)])
def test_one_distance_gets_its_share(place, distance):
    places = codes("sharp")
    (height,), (others,) = places.amplitude_at(np.array([place]), distance, odds=9.0)
    weights = np.exp(
        height * (places.code(np.arange(place + 1)) @ places.code([place - distance])[0])
    )
    share = weights[place - distance] / weights.sum()
    assert share == pytest.approx(0.9, abs=0.01)
    assert others == pytest.approx(weights.sum() - weights[place - distance], rel=0.1)


def test_a_band_gets_its_share():
    places = codes("broad")
    (height,), _ = places.amplitude_near(np.array([1999]), 50, odds=9.0)
    weights = np.exp(height * places.product())
    assert weights[:50].sum() / weights.sum() == pytest.approx(0.9, abs=0.02)


def test_refused():
    with pytest.raises(InputError, match=r"^head_dim must be larger to tell so many tokens apart"):
        codes("sharp", 100_000, 4).amplitude_at(np.array([99_999]), 5, odds=9.0)
