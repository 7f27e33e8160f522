import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qkloom.gen.call import build_core
from qkloom.gen.chip import (
    ChipDescription,
    LaneGroup,
    default_out_width,
    default_row_width,
    preset_names,
    read_chip,
)
from qkloom.tb.tensors import InputError

PLAIN = {
    "name": "mine",
    "clock_mhz": 100.0,
    "lanes": [{"matrix": "plain", "n": 1}],
    "size": 8,
    "block": 16,
    "head_dim": 32,
    "tokens": 512,
}


def mistakes(tables: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_chip(tables)
    first, *lines = str(caught.value).splitlines()
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert first == f"The description has {count}:"
    return [line.strip() for line in lines]


class TestPresets:
    def test_names(self) -> None:
        assert preset_names() == ["u280", "u280-max", "u280-small", "u280-tiny"]

    @pytest.mark.parametrize("name", preset_names())
    def test_says_what_it_is(self, name: str) -> None:
        chip = read_chip(name)
        assert chip.name == name
        assert chip.description.endswith(".")

    @pytest.mark.parametrize(
        ("name", "lanes", "size", "widths", "tops"),
        [
            ("u280", (6, 6), 32, (8, 4), 4.3008),
            ("u280-max", (12, 16), 32, (8, 4), 17.2032),
            ("u280-small", (2, 2), 16, (4, 4), 0.3584),
            ("u280-tiny", (1, 1), 8, (1, 2), 0.0448),
        ],
    )
    def test_figures(
        self, name: str, lanes: tuple[int, int], size: int, widths: tuple[int, int], tops: float
    ) -> None:
        chip = read_chip(name)
        kinds = [kind.partition("+")[0] for kind in chip.matrices]
        assert kinds == ["dsp"] * lanes[0] + ["lut"] * lanes[1]
        assert chip.target == "ultrascale"
        assert chip.lane_parameters["size"] == size
        lane = chip.lane_parameters
        assert (lane["row_width"], lane["out_width"]) == widths
        assert chip.peak_tops == pytest.approx(tops)

    def test_runtime_precision_has_a_plane_a_cycle(self) -> None:
        chip = read_chip("u280-tiny")
        plain, tables = chip.lanes
        serial = chip.replace(lanes=(plain, tables.model_copy(update={"runtime_precision": True})))
        assert serial.matrices == ("dsp", "lut+serial")
        assert serial.has_runtime_precision
        assert not chip.has_runtime_precision
        assert serial.peak_tops == pytest.approx(chip.peak_tops * (1 + 1 / 8) / 2)

    @pytest.mark.parametrize("name", preset_names())
    def test_resolved_toml_is_the_same_chip(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "copy.toml"
        file.write_text(read_chip(name).to_toml())
        copy = read_chip(file)
        assert copy.resolved() == read_chip(name).resolved()
        assert copy.to_toml() == file.read_text()


class TestDescription:
    def test_defaults(self) -> None:
        chip = read_chip(PLAIN)
        assert (chip.cores, chip.acc_width) == (1, None)
        assert (chip.row_width, chip.out_width, chip.lanes[0].memory) == (None, None, "auto")
        assert chip.softmax.model_dump() == {"p_width": None, "segments": 8, "fraction": 10}
        assert chip.resolved()["softmax"] == {"p_width": 14, "segments": 8, "fraction": 10}

    def test_lane_groups_are_listed_one_by_one(self) -> None:
        groups = [{"matrix": "plain", "n": 2}, {"matrix": "plain", "n": 1}]
        assert read_chip({**PLAIN, "lanes": groups}).matrices == ("plain",) * 3
        groups[0]["memory"] = "ultra"
        chip = read_chip({**PLAIN, "lanes": groups})
        assert chip.matrices == ("plain+ultra", "plain+ultra", "plain")
        assert build_core(chip).n_lanes == 3

    @pytest.mark.parametrize(
        ("size", "digits", "width"),
        [(4, 2, 1), (8, 1, 2), (16, 1, 8), (16, 2, 4), (32, 1, 16), (32, 2, 8), (64, 1, 64)],
    )
    def test_row_width_keeps_up_with_the_smallest_heads(
        self, size: int, digits: int, width: int
    ) -> None:
        assert default_row_width(size, digits) == width

    @pytest.mark.parametrize(
        ("size", "block", "digits", "width"),
        [(32, 128, 2, 4), (32, 128, 1, 8), (16, 128, 2, 1), (8, 16, 2, 2), (4, 1024, 2, 1)],
    )
    def test_out_width_keeps_up_with_short_query_blocks(
        self, size: int, block: int, digits: int, width: int
    ) -> None:
        assert default_out_width(size, block, digits) == width

    def test_identifier(self) -> None:
        assert read_chip({**PLAIN, "name": "a-b-2"}).identifier == "a_b_2"

    def test_derived_widths(self) -> None:
        derived = read_chip(PLAIN).derived
        assert derived["score_width"] == 16 + 5
        assert derived["acc_width"] == 14 + 8 + 4 + 9
        assert derived["p_max"] == 16319

    def test_operands_of_4_bits(self) -> None:
        chip = read_chip({**PLAIN, "stationary_width": 4})
        assert chip.derived["score_width"] == 8 + 4 + 5
        assert chip.derived["acc_width"] == 14 + 4 + 4 + 9
        chip = read_chip({**PLAIN, "stream_width": 4})
        assert chip.resolved()["softmax"]["p_width"] == chip.numerics.p_width == 7
        assert chip.lane_parameters["p_width"] == 7
        assert read_chip(chip.resolved()).numerics == chip.numerics
        assert read_chip(PLAIN).replace(stream_width=4).numerics == chip.numerics
        chip = read_chip({**PLAIN, "stream_width": 4, "softmax": {"p_width": 6}})
        assert (chip.derived["score_width"], chip.derived["digits"]) == (4 + 8 + 5, 2)
        assert chip.lane_parameters["stream_width"] == 4
        assert chip.resolved()["stationary_width"] == 8

    def test_is_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            read_chip(PLAIN).size = 16

    def test_replace_checks_the_variant(self) -> None:
        chip = read_chip(PLAIN)
        assert chip.replace(tokens=1024).tokens == 1024
        with pytest.raises(InputError, match=r"^The variant has a mistake:\n  block = 12: "):
            chip.replace(block=12)

    def test_constructor_checks_too(self) -> None:
        with pytest.raises(ValidationError, match="must be a multiple of size, 8"):
            ChipDescription(**{**PLAIN, "block": 12, "lanes": (LaneGroup(matrix="plain", n=1),)})

    def test_schema_describes_every_key(self) -> None:
        schema = ChipDescription.model_json_schema()
        for name, entry in schema["properties"].items():
            assert entry.get("description") or name in ("softmax", "memory")
        assert schema["additionalProperties"] is False


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sise": 8}, r"sise = 8: is not a key of .*did you mean size"),
            ({"size": "8"}, r'size = "8": must be one of 4, 8, 16, 32, 64; .* size = 8'),
            ({"size": 12}, r"size = 12: must be one of 4, 8, 16, 32, 64; "),
            ({"tokens": 512.0}, r"tokens = 512.0: must be an integer; .* tokens = 1024"),
            ({"tokens": True}, r"tokens = true: must be an integer; "),
            ({"tokens": 0}, r"tokens = 0: must be at least 1; "),
            ({"tokens": 1 << 21}, r"tokens = 2097152: must be at most 1048576; "),
            ({"tokens": 99999999999}, r"tokens = 99999999999: must be at most 1048576; "),
            ({"clock_mhz": 0}, r"clock_mhz = 0: must be more than 0; "),
            ({"clock_mhz": float("nan")}, r"clock_mhz = nan: must be a finite number; "),
            ({"clock_mhz": "fast"}, r'clock_mhz = "fast": must be a number; '),
            ({"cores": 2}, r"cores = 2: must be at most 1; "),
            ({"name": "My chip"}, r'name = "My chip": must be small letters, digits and hyphens'),
            ({"name": 3}, r"name = 3: must be a string; "),
            (
                {"name": "always-comb"},
                r'name = "always-comb": must not be a reserved word of .*; use my-always-comb$',
            ),
            ({"name": "testbench"}, r'name = "testbench": must not be a name that qkloom uses, '),
            ({"name": "clk"}, r'name = "clk": must not be a name that qkloom uses, clk; use my-'),
            ({"name": "x" * 65}, r'name = "x+\.\.\.: must have at most 64 characters; '),
            ({"lanes": []}, r"lanes = \[\]: must have at least one entry; "),
            ({"lanes": 3}, r"lanes = 3: must be a list of tables; .*matrix = \"plain\""),
            ({"lanes": [3]}, r"lanes\[0\] = 3: must be a table; "),
            (
                {"lanes": [{"matrix": "luts", "n": 1}]},
                r"lanes\[0\]\.matrix = \"luts\": must be one of 'plain', 'dsp', 'lut'; ",
            ),
            ({"lanes": [{"matrix": "plain"}]}, r"lanes\[0\]\.n: must be given; .* n = 2"),
            ({"softmax": 1}, r"softmax = 1: must be a table; "),
            ({"softmax": {"p_width": 17}}, r"softmax\.p_width = 17: must be at most 16; "),
            ({"softmax": {"segments": 5}}, r"softmax\.segments = 5: must be one of 4, 8, 16,"),
            ({"softmax": {"fractions": 9}}, r"softmax\.fractions = 9: .*did you mean fraction"),
            ({"block": 20}, r"block = 20: must be a multiple of size, 8, .*; use 16 or 24$"),
            ({"block": 4}, r"block = 4: must be a multiple of size, 8, .*; use 8$"),
            ({"head_dim": 36}, r"head_dim = 36: must be a multiple of size, 8, .* 32 or 40"),
            ({"row_width": 3}, r"row_width = 3: must divide size, 8, .*; use 2 or leave it out$"),
            ({"row_width": 99}, r"row_width = 99: must divide size, .*; use 8 or leave it out$"),
            ({"out_width": 5}, r"out_width = 5: must divide size, 8, .*; use 4 or leave it out$"),
            (
                {"lanes": [{"matrix": "dsp", "n": 1, "runtime_precision": True}]},
                r"lanes\[0\]\.runtime_precision = true: must be false of .*; use matrix = .*out$",
            ),
            (
                {"lanes": [{"matrix": "plain", "n": 1, "memory": "block"}]},
                r"lanes\[0\]\.memory = \"block\": must be one of 'auto', 'ultra'; ",
            ),
            (
                {"acc_width": 34},
                r"acc_width = 34: must be at least 35, to sum 512 values .* at most 256 tokens",
            ),
            ({"stream_width": 6}, r"stream_width = 6: must be one of 4, 8; .* stream_width = 8$"),
            ({"size": 8.0}, r"size = 8\.0: must be an integer; for example size = 8$"),
            ({"stream_width": 8.0}, r"stream_width = 8\.0: must be an integer; "),
            ({"stationary_width": 4.0}, r"stationary_width = 4\.0: must be an integer; "),
            ({"softmax": {"segments": 8.0}}, r"softmax\.segments = 8\.0: must be an integer; "),
            ({"stationary_width": 0}, r"stationary_width = 0: must be one of 4, 8; "),
            (
                {"stream_width": 4, "softmax": {"p_width": 14}},
                r"softmax\.p_width = 14: must be 4 to 8, .* stream_width, 4, .* use 4 .*, 7 ",
            ),
            (
                {"softmax": {"p_width": 5}},
                r"softmax\.p_width = 5: must be 7 to 16, .*; use 8 for one pass, 14 for two ",
            ),
            (
                {"acc_width": 30, "stationary_width": 4},
                r"acc_width = 30: must be at least 31, .*; use 31 or at most 256 tokens, or leave",
            ),
            (
                {"gemm": True, "out_width": 4},
                r"out_width = 4: must be at most 2 with gemm, .*; use 2 or leave it out$",
            ),
            (
                {"gemm": True, "stream_width": 4},
                r"gemm = true: must be false unless .* are 8, not 4 and 8: .*; use 8 bits for ",
            ),
            (
                {"gemm": True, "block": 24},
                r"block = 24: must be size, 8, times a power of two .*; use 16 or 32, or leave ",
            ),
            (
                {"gemm": True, "tokens": 256, "softmax": {"p_width": 8}},
                r"gemm = true: must be false if heads .*, 2048, is not below 512, .*; use fewer ",
            ),
            ({"acc_width": 8}, r"acc_width = 8: must be at least 35, .*; use 35, or leave it out$"),
        ],
    )
    def test_one(self, changes: dict[str, Any], message: str) -> None:
        (line,) = mistakes({**PLAIN, **changes})
        assert re.match(message, line), line

    def test_wide_enough_accumulator_is_fine(self) -> None:
        assert read_chip({**PLAIN, "acc_width": 35}).acc_width == 35

    def test_products_of_matrices(self) -> None:
        chip = read_chip({**PLAIN, "gemm": True, "size": 16})
        assert chip.lane_parameters["gemm"] is chip.kernel_parameters["gemm"] is True
        assert chip.lane_parameters["out_width"] == 4
        assert "gemm" not in read_chip(PLAIN).lane_parameters

    def test_all_at_once_and_rules_of_what_is_right_by_itself(self) -> None:
        lines = mistakes(
            {
                **PLAIN,
                "block": 12,
                "tokens": "many",
                "lanes": [{"matrix": "dps", "n": 0}, {"n": 1}],
                "softmax": {"p_width": 3},
                "acc_width": 2,
                "color": "red",
            }
        )
        paths = [re.split(" = |:", line)[0] for line in lines]
        # The accumulator's rule needs the tokens, which nobody knows here.
        assert paths == [
            "lanes[0].matrix",
            "lanes[0].n",
            "lanes[1].matrix",
            "tokens",
            "softmax.p_width",
            "color",
            "block",
        ]

    def test_nothing_given(self) -> None:
        required = ["name", "clock_mhz", "lanes", "size", "block", "head_dim", "tokens"]
        assert [line.partition(":")[0] for line in mistakes({})] == required

    def test_no_addresses(self) -> None:
        assert "http" not in "".join(mistakes({"size": "8"}))


class TestFiles:
    def test_unknown_preset(self) -> None:
        with pytest.raises(
            InputError,
            match=r"^'u280-tini' is neither a preset nor a \.toml file; presets are u280, "
            r"u280-max, u280-small, u280-tiny \(did you mean u280-tiny\?\)$",
        ):
            read_chip("u280-tini")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.toml must be a readable file: No such file"):
            read_chip(tmp_path / "none.toml")

    def test_not_toml(self, tmp_path: Path) -> None:
        file = tmp_path / "chip.toml"
        file.write_text("size = = 8")
        with pytest.raises(InputError, match=r"chip\.toml must be TOML in UTF-8: .*line 1"):
            read_chip(file)

    def test_not_text(self, tmp_path: Path) -> None:
        file = tmp_path / "chip.toml"
        file.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match=r"chip\.toml must be TOML in UTF-8: "):
            read_chip(file)

    def test_mistakes_name_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "chip.toml"
        file.write_text('name = "x"')
        with pytest.raises(InputError, match=r"chip\.toml has 6 mistakes:\n  clock_mhz: "):
            read_chip(file)
