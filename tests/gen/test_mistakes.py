import pytest
from pydantic import BaseModel, ValidationError

from qkloom.gen.mistakes import BrokenRulesError, Mistake, suggestion, translate


class Sample(BaseModel):
    depth: int


def test_mistake_is_one_line() -> None:
    assert str(Mistake("a.b", "3", "must be 4", "use 4")) == "a.b = 3: must be 4; use 4"
    assert str(Mistake("a", "", "must be given", "give it")) == "a: must be given; give it"


def test_broken_rules_say_all() -> None:
    mistakes = [Mistake("a", "1", "x", "y"), Mistake("b", "2", "x", "y")]
    assert str(BrokenRulesError(mistakes)) == "a = 1: x; y; b = 2: x; y"


def test_suggestion() -> None:
    assert suggestion("dpeth", ["width", "depth"]) == " (did you mean depth?)"
    assert suggestion("colour", ["width", "depth"]) == ""


def test_kind_that_has_no_words_of_its_own() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample(depth="x" * 100)  # type: ignore[arg-type]
    (detail,) = caught.value.errors()
    mistake = translate(detail, {"": Sample})
    assert mistake.path == "depth"
    assert mistake.value == '"' + "x" * 56 + "..."
    assert "valid integer" in mistake.rule
