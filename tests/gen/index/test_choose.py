"""Choices of blocks through the Python interface: the hardware's, the model's, and what is said."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qkloom
from qkloom.gen.call import prepare
from qkloom.gen.index import choose
from qkloom.tb.errors import InputError
from qkloom.tb.index.coverage import coverage
from qkloom.tb.index.flexprefill import flexprefill
from qkloom.tb.index.report import jaccard
from qkloom.tb.quantize import quantize
from qkloom.tb.tensors import Tensors

SHARED = ["pattern", "blocks", "covered_mass", "jaccard", "jaccard_exact", "density"]


@pytest.fixture(autouse=True)
def _needs(require: Any) -> None:
    require("compiler")


class TestCoverage:
    def test_rows(self, chip: qkloom.Chip, tensors: Tensors) -> None:
        found = chip.index(tensors.q, tensors.k)
        operands = quantize(tensors.q, tensors.k, tensors.k, chip.description.numerics)
        q, k, _ = operands.floats()
        reference = coverage(q, k, block=16, min_budget=32)
        exact = flexprefill(q, k, block=16, min_budget=32)
        assert found.selection.shape == (4, 32, 32)
        for number, row in enumerate(found.heads):
            mask = found.selection[number]
            assert (row.head, row.pattern) == (number, reference[number].pattern)
            assert row.blocks == mask.sum()
            assert row.jaccard == jaccard(mask, reference[number].mask) > 0.95
            assert row.jaccard_exact == jaccard(mask, exact[number].mask)
            assert 0.8 < row.covered_mass < 1
            assert row.flags == ()
        np.testing.assert_allclose(found.attended.sum(axis=2), 1)

    def test_report(self, chip: qkloom.Chip, tensors: Tensors) -> None:
        report = chip.index(tensors.q, tensors.k, gamma=0.5).report
        assert [report[x] for x in ("chip", "method", "gamma", "block", "tokens")] == [
            *["u280-tiny", "coverage", 0.5, 16, 512]
        ]
        assert (report["engine"], report["bit_exact"]) == ("cxxrtl", True)
        # Keys of a KV head are read once, for both of its heads; cycles up to the last record.
        assert report["k_bytes"] == 2 * 512 * 32
        assert report["cycles"] > 512 * 16 * 32 // 64
        names = ["head", *SHARED, "cycles", "k_bytes", "flags", "disagreements"]
        assert [list(row) for row in report["heads"]] == 4 * [names]
        assert report["density"] == pytest.approx(np.mean([x["density"] for x in report["heads"]]))

    def test_some_heads_of_more(self, chip: qkloom.Chip, tensors: Tensors) -> None:
        found = chip.index(tensors.q[2:], tensors.k[1:], first_head=2)
        assert [row.head for row in found.heads] == [2, 3]
        whole = chip.index(tensors.q, tensors.k)
        for one, other in zip(found.heads, whole.heads[2:], strict=True):
            assert replace(one, cycles=0) == replace(other, cycles=0)

    def test_selection_is_a_block_mask(self, chip: qkloom.Chip, tensors: Tensors) -> None:
        q, k = (x[None, :, :64] for x in (tensors.q, tensors.k))
        found = chip.index(q, k)
        assert found.selection.shape == (1, 4, 4, 4)
        given = {"causal": True, "block_mask": found.selection}
        call = prepare(chip.description, q, k, k, **given).call
        assert call.block_mask is not None
        assert call.block_mask.shape == (4, 4, 4)


class TestForecast:
    def test_hardware_chooses(self, chip: qkloom.Chip, tensors: Tensors, require: Any) -> None:
        require("compiler")
        found = chip.index(tensors.q, tensors.k, method="forecast")
        report = found.report
        assert (report["engine"], report["bit_exact"]) == ("cxxrtl", True)
        assert (report["block"], report["snr"], report["seed"]) == (64, None, 0)
        per_row = found.selection.sum(axis=2)
        assert (per_row == np.minimum(np.arange(1, 9), 5)).all()
        for i in range(8):  # the first, the query's own and the two before it
            assert found.selection[:, i, [0, *range(max(i - 2, 0), i + 1)]].all()
        assert (found.selection[0] == found.selection[1]).all()
        for row in found.heads:
            assert row.pattern == "top-k"
            assert row.jaccard > 0.9
            # Windows of 32 tokens that are complete with the last query of each block.
            assert row.k_bytes == 32 * sum(4 * n + 3 for n in range(8))
            assert 220 > row.cycles >= row.k_bytes // 32
        # What heads of a group share counts once.
        assert report["k_bytes"] == sum(row.k_bytes for row in found.heads[::2])
        assert report["cycles"] == sum(row.cycles for row in found.heads[::2])

    def test_noise(self, chip: qkloom.Chip, tensors: Tensors, require: Any) -> None:
        require("compiler")
        oracle, noisy, again = (
            chip.index(tensors.q, tensors.k, method="forecast", snr=snr, seed=1)
            for snr in (None, -20.0, -20.0)
        )
        assert (noisy.selection != oracle.selection).any()
        assert (noisy.selection == again.selection).all()
        assert noisy.report["covered_mass"] < oracle.report["covered_mass"]

    def test_hardware_that_is_wrong(
        self, chip: qkloom.Chip, tensors: Tensors, monkeypatch: pytest.MonkeyPatch, require: Any
    ) -> None:
        require("compiler")
        monkeypatch.setattr(choose, "find_difference", lambda *_: "chosen[0] differs")
        found = chip.index(tensors.q, tensors.k, method="forecast")
        assert found.report["bit_exact"] is False


class TestFixed:
    def test_window(self, chip: qkloom.Chip, tensors: Tensors) -> None:
        found = chip.index(tensors.q, tensors.k, method="window", local_blocks=3)
        row, column = np.indices((32, 32))
        wanted = (column <= row) & ((column == 0) | (row - column <= 3))
        assert (found.selection == wanted).all()
        assert {(x.pattern, x.cycles, x.k_bytes, x.jaccard) for x in found.heads} == {
            ("window", 0, 0, 1.0)
        }
        assert found.report["engine"] == "none"

    def test_dense(self, chip: qkloom.Chip, tensors: Tensors) -> None:
        found = chip.index(tensors.q, tensors.k, method="dense")
        assert {(x.pattern, x.density, x.blocks) for x in found.heads} == {("dense", 1.0, 528)}
        assert [x.covered_mass for x in found.heads] == pytest.approx(4 * [1])


class TestDegenerateInputs:
    """A defined result, and a flag."""

    @pytest.mark.parametrize("value", [0.0, -1.0])
    @pytest.mark.parametrize("method", ["coverage", "forecast"])
    def test_all_scores_equal(
        self, chip: qkloom.Chip, method: str, value: float, require: Any
    ) -> None:
        require("compiler")
        x = np.full((1, 512, 32), value)
        found = chip.index(x, -x, method=method)  # -1: all at minus full scale
        assert found.heads[0].flags == ("flat",)
        assert found.heads[0].jaccard == 1
        assert found.selection[0].any(axis=1).all()

    @pytest.mark.parametrize("method", ["coverage", "forecast"])
    def test_queries_or_keys_that_tell_nothing(
        self, chip: qkloom.Chip, method: str, require: Any
    ) -> None:
        require("compiler")
        x = np.random.default_rng(0).standard_normal((1, 512, 32))
        for q, k, flags in (
            (0 * x, x, ("flat",)),
            (x, 0 * x + x[:, :1], ("flat",)),
            (x, x, ()),
        ):
            assert chip.index(q, k, method=method).heads[0].flags == flags

    @pytest.mark.parametrize(
        ("method", "flags"),
        [
            ("coverage", ("flat", "single")),
            ("forecast", ("fewer", "flat", "single")),
            ("window", ("single",)),
            ("dense", ("single",)),
        ],
    )
    def test_a_single_block(
        self, chip: qkloom.Chip, tensors: Tensors, method: str, flags: tuple[str, ...], require: Any
    ) -> None:
        require("compiler")
        found = chip.index(tensors.q[:, :9], tensors.k[:, :9], method=method)
        assert found.selection.tolist() == 4 * [[[True]]]
        assert [row.flags for row in found.heads] == 4 * [flags]
        assert [row.covered_mass for row in found.heads] == pytest.approx(4 * [1])


@pytest.mark.parametrize(
    ("tokens", "changes", "message"),
    [
        (512, {"gamma": 1.5}, r"index\.gamma = 1\.5: must be at most 1\.0; for example gamma"),
        (512, {"max_budget": 16}, r"index\.max_budget = 16: must be at least min_budget, 32; "),
        (512, {"top_k": 200}, r"index\.top_k = 200: must be at most 128; "),
        (512, {"method": "best"}, r"index\.method = \"best\": must be one of 'coverage', "),
        (
            512,
            {"tokens": 256},
            r"^u280-tiny takes tokens to select from .* up to 256, not 512; cut",
        ),
        (512, {"engine": "icarus"}, r"^Engine must be one of pysim, cxxrtl, verilator, not 'ica"),
        (512, {"snr": float("nan")}, r"^snr must be a finite number of dB, not nan; leave it out"),
    ],
)
def test_mistakes(
    chip: qkloom.Chip, tensors: Tensors, tokens: int, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        chip.index(tensors.q[:, :tokens], tensors.k[:, :tokens], **changes)


def test_tensors_that_do_not_belong_together(chip: qkloom.Chip, tensors: Tensors) -> None:
    with pytest.raises(InputError, match=r"^q and k must have as many tokens, .*, not 512 and 500"):
        chip.index(tensors.q, tensors.k[:, :500])
    with pytest.raises(
        InputError, match=r"^u280-tiny takes head_dim \(last axis\) up to 64, not 65"
    ):
        chip.index(np.zeros((1, 8, 65)), np.zeros((1, 8, 65)))
    with pytest.raises(InputError, match=r"^Scores in base 2 must stay below "):
        chip.index(1e6 * tensors.q, tensors.k)
