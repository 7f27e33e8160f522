"""Attention on small chips, through the Python interface."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qkloom
from qkloom.gen.cache.report import simulated_rows
from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.attention import attention
from qkloom.tb.tensors import InputError, default_tensors

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture(scope="module")
def compiler(require: Any) -> None:
    require("compiler")


def tensors(*shape: int, kv: tuple[int, ...] | None = None, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in (shape, kv or shape, kv or shape)]


class TestOutput:
    @pytest.mark.parametrize(
        ("shape", "kv", "options"),
        [
            ((2, 5, 8), None, {}),
            ((1, 9, 8), None, {"causal": True}),
            ((2, 2, 4, 5), (2, 1, 9, 5), {"causal": True, "q_start": 5}),
            ((1, 3, 8), None, {"scale": 0.5}),
        ],
    )
    def test_is_attention(
        self,
        mini: qkloom.Chip,
        shape: tuple[int, ...],
        kv: tuple[int, ...] | None,
        options: dict[str, Any],
    ) -> None:
        q, k, v = tensors(*shape, kv=kv)
        result = mini.simulate(q, k, v, **options)
        assert result.bit_exact
        assert result.output.shape == shape
        assert result.output.dtype == np.float32
        scale = options.pop("scale", shape[-1] ** -0.5)
        wanted = attention(q * scale * shape[-1] ** 0.5, k, v, **options)
        np.testing.assert_allclose(result.output, wanted, atol=0.05)

    def test_rows_that_see_nothing_are_zero(self, mini: qkloom.Chip) -> None:
        result = mini.simulate(*tensors(1, 4, 8), causal=True, q_start=-2)
        assert result.bit_exact
        assert not result.output[:, :2].any()
        assert result.output[:, 2:].any()

    def test_double_precision_stays(self, mini: qkloom.Chip) -> None:
        q, k, v = (x.astype(np.float64) for x in tensors(1, 2, 4))
        assert mini.simulate(q, k, v).output.dtype == np.float64

    def test_double_precision_of_another_library_stays(self, mini: qkloom.Chip) -> None:
        class Tensor:
            dtype = "torch.float64"  # as it prints

            def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
                return np.ones((1, 2, 4))

        assert mini.simulate(Tensor(), Tensor(), Tensor()).output.dtype == np.float64

    def test_lists_are_arrays_too(self, mini: qkloom.Chip) -> None:
        q, k, v = (x.tolist() for x in tensors(1, 2, 4))
        assert mini.simulate(q, k, v).output.shape == (1, 2, 4)


class TestReport:
    def test_keys_and_figures(self, mini: qkloom.Chip) -> None:
        steps = []
        result = mini.simulate(*tensors(2, 8, 8), progress=lambda *step: steps.append(step))
        report = result.report
        keys = "chip engine cycles mac_utilization attention_efficiency bit_exact max_abs_error"
        assert list(report)[:9] == [*keys.split(), "mean_abs_error", "rms_relative_error"]
        assert (report["chip"], report["engine"]) == ("mini", "cxxrtl")
        assert report["cycles"] == result.cycles
        # Two heads, 8 x 8 pairs of 8 elements; the second product takes two passes.
        slots = 4 * 4 * 2 * result.cycles
        assert report["mac_utilization"] == pytest.approx(2 * 8 * 8 * 8 * 3 / slots)
        assert report["attention_efficiency"] == pytest.approx(2 * 8 * 8 * 8 * 2 / slots)
        assert report["seconds_at_clock"] == pytest.approx(result.cycles / 100e6)
        assert steps[0] == ("exact model", None)
        assert ("comparing with float64", None) in steps
        assert any(share == 1.0 for _, share in steps)

    def test_wrong_answers_are_noticed(
        self, mini: qkloom.Chip, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The exact model of another chip stands in for hardware that is wrong.
        other = Numerics(size=4, head_dim=32, tokens=64, p_width=9, segments=4, fraction=6)
        monkeypatch.setattr(type(mini.description), "numerics", other)
        result = mini.simulate(*tensors(1, 8, 8))
        assert not result.bit_exact
        assert result.report["differing_outputs"] > 32


class TestSelection:
    def test_report(self, mini: qkloom.Chip) -> None:
        q, k, v = tensors(2, 33, 8, kv=(1, 33, 8))
        mask = np.eye(5, dtype=bool) | (np.arange(5) == 0)
        result = mini.simulate(q, k, v, causal=True, block_mask=mask)
        report = result.report
        assert result.bit_exact
        assert report["planned_bytes"].items() <= report["bytes"].items()
        # The diagonal of four blocks and a query; keys of the first block below it.
        pairs = 4 * 8 * 9 // 2 + 1 + 8 * (33 - 8)
        assert report["density"] == pytest.approx(pairs / (33 * 34 // 2))
        assert report["rms_relative_error"] < 1e-2
        dense = attention(q, k, v, causal=True)
        error = np.abs(result.output - dense).max()
        assert report["dense_max_abs_error"] == pytest.approx(error, rel=0.1)
        assert report["dense_rms_relative_error"] > 0.1
        less = mini.simulate(q, k, v, causal=True).report
        assert less["cycles"] > report["cycles"]
        assert less["density"] == 1
        assert less["dense_rms_relative_error"] == less["rms_relative_error"]

    def test_all_blocks(self, mini: qkloom.Chip) -> None:
        q, k, v = tensors(2, 2, 20, 8)
        dense = mini.simulate(q, k, v)
        whole = mini.simulate(q, k, v, block_mask=np.ones((2, 2, 3, 3), bool))
        assert whole.bit_exact
        np.testing.assert_array_equal(whole.output, dense.output)
        assert whole.report["density"] == 1


class TestMistakes:
    def test_engine(self, mini: qkloom.Chip) -> None:
        with pytest.raises(
            InputError, match=r"^Engine must be one of .*, not 'cxrtl' \(did you mean cxxrtl\?\)$"
        ):
            mini.simulate(*tensors(1, 2, 4), engine="cxrtl")

    def test_tensors(self, mini: qkloom.Chip) -> None:
        q, k, v = tensors(1, 2, 4)
        k[0, 1, 2] = np.nan
        with pytest.raises(InputError, match=r"must be finite .* nan at \(0, 1, 2\)"):
            mini.simulate(q, k, v)


@pytest.mark.parametrize(("stream_width", "stationary_width", "p_width"), [(8, 4, 14), (4, 8, 4)])
def test_operands_of_4_bits(
    mini: qkloom.Chip, stream_width: int, stationary_width: int, p_width: int
) -> None:
    widths = {"stream_width": stream_width, "stationary_width": stationary_width}
    chip = qkloom.load(mini.description.replace(**widths, softmax={"p_width": p_width}))
    q, k, v = tensors(2, 13, 8)
    result = chip.simulate(q, k, v, causal=True)
    assert result.bit_exact
    assert result.report["rms_relative_error"] <= 5e-4 + 4 * 2**-p_width
    # Digits decide how long it takes; operands only by the beats that they are fetched in.
    if chip.description.numerics.digits == mini.description.numerics.digits:
        cycles = mini.simulate(q, k, v, causal=True).cycles
        assert result.cycles == pytest.approx(cycles, rel=0.02)


def test_plain_simulator_agrees(mini: qkloom.Chip, tmp_path: Path) -> None:
    inputs, waves = tensors(2, 11, 8), tmp_path / "mini.vcd"
    fast = mini.simulate(*inputs, causal=True)
    slow = mini.simulate(*inputs, causal=True, engine="pysim", waves=waves)
    assert slow.bit_exact and fast.bit_exact
    assert slow.cycles == fast.cycles
    np.testing.assert_array_equal(slow.output, fast.output)
    assert "$enddefinitions" in waves.read_text()


class TestIndex:
    """The kernel selects, and attends to what it has selected."""

    def test_selected_by_the_hardware(self, require: Any) -> None:
        require("compiler")
        chip = qkloom.load("u280-tiny")
        q, k, v = (x[:2, :256] for x in default_tensors())
        result = chip.simulate(q, k, v, index="coverage")
        report = result.report
        assert result.bit_exact and report["causal"]
        assert report["index"]["bit_exact"]
        assert report["index"]["bytes"] == {
            name: report["index"]["planned_bytes"][name] for name in "qkv"
        }
        assert 0 < report["index"]["share_of_time"] < 1
        assert report["density"] < 1
        assert report["max_abs_error"] < 1e-2 < report["dense_max_abs_error"]
        masked = chip.simulate(
            q, k, v, causal=True, block_mask=chip.index(q, k, method="coverage").selection
        )
        assert (masked.output == result.output).all()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"index": "window"}, r"^index must be 'coverage', which the kernel selects by, not "),
            ({"index": "coverage", "q_start": 1}, r"^q_start must be 0 with index, not 1: "),
            ({"index": "coverage", "block_mask": [[1]]}, r"^block_mask and index must not come "),
        ],
    )
    def test_mistakes(self, mini: qkloom.Chip, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            mini.simulate(*tensors(1, 4, 4), **changes)


def test_a_cache(mini: qkloom.Chip) -> None:
    """What the hardware counted is what the exact model says, and stands beside other caches."""
    tables = {"cache": {"cold_blocks": 2, "hot_blocks": 1}, "tokens": 64}
    chip = qkloom.Chip(mini.description.replace(**tables))
    mask = np.random.default_rng(1).random((2, 3, 5)) < 0.7
    q, k, v = tensors(2, 20, 8, kv=(1, 34, 8))
    result = chip.simulate(q, k, v, block_mask=mask, engine="pysim")
    of = result.report["cache"]
    assert result.bit_exact
    assert of["exact"]
    assert result.cache is not None
    counts = result.cache.counts()
    names = ("hits", "misses", "bypasses", "evictions")
    found = (counts.hits.total, counts.misses, counts.bypasses, counts.evictions.total)
    assert tuple(of[name] for name in names) == found
    assert of["visits"] == of["hits"] + of["misses"]
    assert of["bytes"] == result.report["bytes"]["k"] + result.report["bytes"]["v"]
    assert of["bytes_belady"] <= of["bytes"] <= of["bytes_no_cache"]
    assert sum(tier["hits"] for tier in of["tiers"].values()) == of["hits"]
    least = result.report["cycles"] * result.report["mac_utilization"]
    assert of["demand"]["bytes"] == pytest.approx(of["bytes"] / least)
    rows = simulated_rows(result.report)
    assert rows["bytes of KV blocks, fetched"].startswith(f"{of['bytes']:,}; ")
    assert "as its exact model has it: yes" in rows["cache"]


def test_no_cache_is_said_nothing_of(mini: qkloom.Chip) -> None:
    result = mini.simulate(*tensors(1, 4, 8))
    assert "cache" not in result.report
    assert result.cache is None
    assert simulated_rows(result.report) == {}
