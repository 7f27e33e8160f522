"""The reserved words are those that a parser refuses, and no others."""

from collections.abc import Callable

from qkloom.gen.keywords import KEYWORDS


def test_complete(require: Callable[[str], None]) -> None:
    require("pyslang")
    from pyslang.parsing import TokenKind

    kinds = {name.removesuffix("Keyword") for name in dir(TokenKind) if name.endswith("Keyword")}
    assert {word.replace("_", "") for word in KEYWORDS} == {kind.lower() for kind in kinds}


def test_refused_by_a_parser(require: Callable[[str], None]) -> None:
    require("pyslang")
    from pyslang.syntax import SyntaxTree

    for word in KEYWORDS:
        assert list(SyntaxTree.fromText(f"module {word}; endmodule").diagnostics), word
