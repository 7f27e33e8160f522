import pytest

from qkloom.tb.cache.rules import CacheRules


def test_defaults():
    rules = CacheRules(hot=2, cold=3)
    assert (rules.policy, rules.slots, rules.lookahead, rules.horizon) == ("next-use", 5, 1, 16)
    assert [rules.tier(slot) for slot in range(5)] == ["hot", "hot", "cold", "cold", "cold"]
    assert CacheRules("none").slots == 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"policy": "fifo"}, ValueError, r"^Policy must be one of next-use, .*, not 'fifo'$"),
        ({}, ValueError, r"^Hot and cold must be 1 slot or more together with policy 'next-use'"),
        ({"hot": -1}, ValueError, r"^Hot must be an integer of 0 or more, not -1$"),
        ({"cold": 1.0}, TypeError, r"^Cold must be an integer of 0 or more, not 1.0$"),
        ({"cold": 1, "threshold": True}, TypeError, r"^Threshold must be an integer of 0 or more"),
        ({"cold": 1, "lookahead": 0}, ValueError, r"^Lookahead must be a positive integer, not 0$"),
        ({"cold": 1, "horizon": 0}, ValueError, r"^Horizon must be a positive integer, not 0$"),
    ],
)
def test_refuses(given, error, message):
    with pytest.raises(error, match=message):
        CacheRules(**given)
