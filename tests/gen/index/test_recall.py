"""Methods compared on a chip: what they answer, and cycles counted pair by pair."""

from typing import Any

import pytest

import qkloom
from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.gen.index.chart import draw_recall
from qkloom.gen.index.recall import Comparison, compare_recall, default_lengths
from qkloom.gen.index.report import describe_recall, tabulate_recall
from qkloom.tb.errors import InputError
from qkloom.tb.index.methods import compare_methods


@pytest.fixture(scope="module")
def description(chip: qkloom.Chip) -> ChipDescription:
    return chip.description.replace(tokens=1024, head_dim=32)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, float | None]]:
    return []


@pytest.fixture(scope="module")
def made(description: ChipDescription, told: list[tuple[str, float | None]]) -> Comparison:
    return compare_recall(
        description,
        lengths=[512, 1024],
        snrs=[None, -10.0],
        progress=lambda step, share: told.append((step, share)),
        top_k=8,
    )


def test_rows(made: Comparison) -> None:
    names = ["dense", "window", "coverage", "forecast oracle", "forecast -10 dB"]
    assert [(row.tokens, row.method) for row in made.rows] == [
        (length, name) for length in (512, 1024) for name in names
    ]
    rows = {row.method: row for row in made.rows[5:]}
    assert rows["dense"].accuracy > 0.9
    assert rows["dense"].density == 1
    assert rows["window"].accuracy < 0.5
    assert rows["coverage"].accuracy > rows["window"].accuracy
    assert rows["coverage"].density < 0.8
    assert rows["forecast oracle"].found > rows["forecast -10 dB"].found


def test_cycles_are_those_of_all_pairs(made: Comparison, description: ChipDescription) -> None:
    macs, passes, head_dim, heads = 2 * 64, 1 + description.numerics.digits, 32, 4
    rows = {row.method: row for row in made.rows[5:]}
    pairs = sum(16 * 16 * (n + 1) for n in range(64))  # rows and keys of whole tiles
    assert rows["dense"].cycles == heads * pairs * head_dim * passes / macs
    # A window of 16 blocks beside the query's own, and the first one.
    pairs = sum(16 * 16 * min(n + 1, 18) for n in range(64))
    assert rows["window"].cycles == heads * pairs * head_dim * passes / macs
    assert rows["dense"].index_cycles == rows["window"].index_cycles == 0
    # Scores of the last block's queries.
    assert rows["coverage"].index_cycles == heads * 16 * 1024 * head_dim / macs
    # 8 blocks of 64 tokens; beats of 32 bytes, of windows that end with each block of queries.
    windows = sum((64 * (n + 1) - 32) // 16 + 1 for n in range(16))
    attended = heads * sum(64 * 64 * min(n + 1, 8) for n in range(16)) * head_dim * passes / macs
    for name in ("forecast oracle", "forecast -10 dB"):
        assert rows[name].index_cycles == 2 * windows * head_dim / 32
        assert rows[name].cycles == attended + rows[name].index_cycles


def test_coverage_is_counted_by_what_it_chose(
    made: Comparison, description: ChipDescription
) -> None:
    row = made.rows[2]
    (method,) = compare_methods(
        512,
        methods=["coverage"],
        head_dim=32,
        block=16,
        questions=128,
        rule=description.coverage_rule,
        window_tokens=128,
    )
    chosen = method.chosen
    assert chosen is not None
    pairs = int(chosen.sum()) * 16 * 16
    passes = 1 + description.numerics.digits
    # In float64 here: a few pairs of blocks may differ.
    assert row.cycles - row.index_cycles == pytest.approx(pairs * 32 * passes / 128, rel=0.02)
    assert row.accuracy == pytest.approx(method.accuracy, abs=0.03)


def test_progress(made: Comparison, told: list[tuple[str, float | None]]) -> None:
    assert [step for step, _ in told][:3] == [
        *["512 tokens, dense", "512 tokens, window", "512 tokens, coverage"]
    ]
    shares = [share for _, share in told if share is not None]
    assert shares == sorted(shares)
    assert len(shares) == 8
    assert (shares[0], shares[4]) == (0, 1 / 3)


def test_words(made: Comparison) -> None:
    headers, rows = tabulate_recall(made)
    assert headers[:5] == ["tokens", "method", "accuracy", "density", "cycles"]
    assert rows[5][:2] == ["1,024", "dense"]
    assert "counted" in "".join(describe_recall(made))
    assert "oracle" in "".join(describe_recall(made))
    assert list(made.report["rows"][0]) == [
        *["tokens", "method", "accuracy", "density", "found", "keys", "cycles", "index_cycles"]
    ]


def test_picture(made: Comparison) -> None:
    text = draw_recall(made)
    for word in ("dense", "forecast -10 dB", "1K", "questions answered", "100 K"):
        assert f">{word}<" in text
    assert text.count("<polyline") == 2 * 5
    assert text.count("<circle") == 2 * 2 * 2 + 2  # a mark a point of forecasts, and the legend
    one = compare_recall_of(made, 512)
    assert "<polyline" in draw_recall(one)


def compare_recall_of(made: Comparison, tokens: int) -> Comparison:
    rows = tuple(row for row in made.rows if row.tokens == tokens)
    return Comparison(rows, made.report)


def test_lengths() -> None:
    usual = [4096, 8192, 16384, 32768, 65536, 131072]
    assert default_lengths(read_chip("u280")) == usual
    assert default_lengths(read_chip("u280-tiny")) == [1024]
    small = read_chip("u280").replace(index={"method": "coverage", "tokens": 10000})
    assert default_lengths(small) == usual[:2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "flexprefill"}, r"^method must be one of all, coverage, .*, not 'flexprefill'"),
        ({"gamma": 1.5}, r"index\.gamma = 1\.5: must be at most 1\.0; "),
        ({"lengths": [2048]}, r"^u280-tiny takes tokens to select from up to 1024, not 2048; "),
        ({"lengths": [1000]}, r"^tokens and questions must be whole blocks .* 1000 and 128 by 16"),
        (
            {"top_k": 4},
            r"^top_k must be at least 6 for 1,024 tokens, .*, not 4; use 6 or more",
        ),
    ],
)
def test_mistakes(description: ChipDescription, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_recall(description, **{"lengths": [1024], **changes})


def test_chips_that_take_no_selection() -> None:
    with pytest.raises(InputError, match=r"must be \"dense\" of a chip whose calls take no "):
        compare_recall(read_chip("u280-max"))
