import pytest

from qkloom.platforms.host import LaunchError, RefusedError
from qkloom.platforms.host.errors import REMEDIES
from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import CallError, InputError


def test_every_code_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Code) - {Code.OK}


def test_a_failed_call_says_code_name_text_and_remedy() -> None:
    error = LaunchError.of(Code.SLVERR)
    assert isinstance(error, CallError)
    assert error.code == Code.SLVERR
    assert str(error) == (
        "The kernel ended the call with code 16, SLVERR: a bus answered SLVERR; "
        "reset the device, since the next calls fail too; do the buffers still exist?"
    )


def test_a_refused_call_says_rule_code_and_remedy() -> None:
    with pytest.raises(
        InputError, match=r"^n_q must be 1, not 2 \(code 2, QUERIES\); cut "
    ) as info:
        raise RefusedError("n_q must be 1, not 2", Code.QUERIES)
    assert info.value.code == Code.QUERIES
