import pytest

from qkloom.tb.testbench import Expectation, Testbench


@pytest.mark.parametrize("name", ["max_cycles", "reset_cycles", "aborted_cycles", "quiet_cycles"])
def test_cycles_are_not_negative(name):
    with pytest.raises(ValueError, match=rf"^{name} must not be negative, and is -1$"):
        Testbench({}, {}, **({"max_cycles": 1} | {name: -1}))


def test_aborted_cycles_need_a_reset():
    with pytest.raises(
        ValueError, match=r"^Only a reset can follow aborted cycles; reset_cycles is"
    ):
        Testbench({}, {}, max_cycles=1, aborted_cycles=1, reset_cycles=0)


def test_values_and_count():
    with pytest.raises(
        ValueError, match=r"^An expectation has values or a count of them, not both$"
    ):
        Expectation([1], count=1)
    with pytest.raises(ValueError, match=r"^Count must not be negative, and is -1$"):
        Expectation(count=-1)
