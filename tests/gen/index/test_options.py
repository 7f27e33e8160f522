import re

import pytest

from qkloom.gen.index.options import read_counts, read_snrs, refuse_given
from qkloom.tb.errors import InputError


def test_snrs() -> None:
    assert read_snrs("oracle") == [None]
    assert read_snrs("oracle, 10,-3.5") == [None, 10.0, -3.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loud", "--snr must be a number of dB or `oracle`, not 'loud'"),
        ("3,", "--snr must be a number of dB or `oracle`, not ''"),
        ("inf", "--snr must be a number of dB or `oracle`, not 'inf'"),
        ("3,4", "--snr must be one number unless there is a --task, not '3,4'"),
    ],
)
def test_no_snrs(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_snrs(text, most=1)


def test_counts() -> None:
    assert read_counts("4096, 8192", "--tokens") == [4096, 8192]
    for text, wrong in (("4k", "4k"), ("4096,,1", ""), ("0", "0"), ("-1", "-1"), ("all", "all")):
        message = f"--tokens must be numbers with commas between, not '{wrong}'"
        with pytest.raises(InputError, match=f"^{message}$"):
            read_counts(text, "--tokens")


def test_refused() -> None:
    refuse_given("--task", {"--layer": None, "--input": None})
    with pytest.raises(InputError, match=r"^--task goes without --layer; leave it out$"):
        refuse_given("--task", {"--layer": 0, "--input": None})
    with pytest.raises(InputError, match=r"^--task goes without --a and --b; leave them out$"):
        refuse_given("--task", {"--a": 1, "--b": 2})
