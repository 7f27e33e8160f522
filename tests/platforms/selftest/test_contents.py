import numpy as np
import pytest

from qkloom.platforms.selftest import CORE, make_contents
from qkloom.rtl.core import Core
from qkloom.tb.packing import to_words, unpack


def test_depends_on_the_seed_alone():
    core = Core(**CORE)
    assert make_contents(core, seed=3) == make_contents(Core(**CORE), seed=3)
    assert make_contents(core, seed=3).outputs != make_contents(core, seed=4).outputs


def test_follows_upon_itself():
    """Blocks take turns in the two slots, from the last of a call to the first of the next."""
    core = Core(**CORE)
    shape = core.i_job.payload.shape()
    words = make_contents(core).jobs
    jobs = unpack(shape, to_words(np.array(words, object), shape.size))["item"]
    slots = [slot for slot, first in zip(jobs["slot"], jobs["first"], strict=True) if first]
    assert slots == [0, 1, 0, 1]


def test_several_lanes():
    core = Core(**{**CORE, "lanes": ("plain", "plain")})
    with pytest.raises(ValueError, match=r"^A self test needs a core of one lane, not of 2$"):
        make_contents(core)
