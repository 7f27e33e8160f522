"""What is wrong with a description, in the words of someone who writes one."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

__all__ = ["BrokenRulesError", "Mistake", "suggestion", "translate"]

# Rules by the error type of pydantic; the words in braces are from the error's context.
_RULES = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be a string",
    "string_pattern_mismatch": "must be small letters, digits and hyphens, a letter first",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be one of {expected}",
    "tuple_type": "must be a list of tables",
    "too_short": "must have at least one entry",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "missing": "must be given",
    "extra_forbidden": "is not a key of a description",
}


class Mistake(NamedTuple):
    """One wrong value: where, what, the rule it breaks, and a way out."""

    path: str
    value: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        return f"{self.path}{value}: {self.rule}; {self.remedy}"


class BrokenRulesError(ValueError):
    """Values that are right by themselves and do not go together."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(map(str, mistakes)))
        self.mistakes = mistakes


def translate(detail: Any, tables: Mapping[str, type[BaseModel]]) -> Mistake:
    """Say one mistake that pydantic found.

    Parameters
    ----------
    detail : dict
        An entry of ``ValidationError.errors()``.
    tables : mapping
        Model of each table by the key that holds it; the outermost one is called ``""``.
    """
    loc, kind = detail["loc"], detail["type"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    table = tables[next((part for part in reversed(loc[:-1]) if part in tables), "")]
    key = str(loc[-1]) if loc else ""
    value = "" if kind == "missing" else _spell(detail["input"])
    rule = _RULES.get(kind, detail["msg"]).format(**detail.get("ctx", {})).replace(" or ", ", ")
    if kind == "extra_forbidden":
        keys = list(table.model_fields)
        remedy = f"keys here are {', '.join(keys)}{suggestion(key, keys)}"
    elif key in table.model_fields:
        field = table.model_fields[key]
        remedy = f"for example {key} = {_spell((field.examples or [field.default])[0])}"
    else:
        remedy = "see `qkloom schema`"
    return Mistake(path, value, rule, remedy)


def suggestion(word: str, words: Iterable[str]) -> str:
    """Return what was probably meant, as a remark in parentheses, or nothing."""
    match = difflib.get_close_matches(word, list(words), 1)
    return f" (did you mean {match[0]}?)" if match else ""


def _spell(value: Any) -> str:
    """Spell a value as in TOML, shortened."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = '"' + value.replace('"', '\\"') + '"'
    elif isinstance(value, BaseModel):
        text = _spell(value.model_dump())
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{name} = {_spell(item)}" for name, item in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(map(_spell, value)) + "]"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
