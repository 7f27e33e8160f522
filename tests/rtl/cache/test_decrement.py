"""Jobs left that are not taken off are found out twice: by the model, and by the proof."""

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.cache import outlook
from qkloom.tb.formal import ProofError, prove_run
from tests.rtl.cache import test_outlook
from tests.rtl.cache.altered import altered
from tests.rtl.cache.test_outlook_proofs import OutlookClaims, shorten

WITHOUT = "r_left.data - use.jobs", "r_left.data"


def test_the_model_finds_it(monkeypatch):
    test_outlook.test_tells_what_is_left_and_when_again(5, 1)
    monkeypatch.setattr(test_outlook, "Outlook", altered(outlook, WITHOUT).Outlook)
    with pytest.raises(AssertionError):
        test_outlook.test_tells_what_is_left_and_when_again(5, 1)


def test_the_proof_finds_it(require):
    require("yosys")
    claims = OutlookClaims(honest=True, unit=shorten(WITHOUT))
    with pytest.raises(ProofError, match="breaks a claim in this run"):
        prove_run(emit(claims, name="claims"), depth=24, peek=claims.peek)
