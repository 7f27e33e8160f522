from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qkloom.gen.call import build_core
from qkloom.gen.chip import ChipDescription, LaneGroup, preset_names, read_chip
from qkloom.tb.index.exact import CoverageRule
from qkloom.tb.tensors import InputError

Tables = dict[str, Any]


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
    def test_defaults(self, plain: Tables) -> None:
        chip = read_chip(plain)
        assert (chip.cores, chip.acc_width) == (1, None)
        assert (chip.row_width, chip.out_width, chip.lanes[0].memory) == (None, None, "auto")
        assert chip.softmax.model_dump() == {"p_width": None, "segments": 8, "fraction": 10}
        assert chip.resolved()["softmax"] == {"p_width": 14, "segments": 8, "fraction": 10}

    def test_lane_groups_are_listed_one_by_one(self, plain: Tables) -> None:
        groups = [{"matrix": "plain", "n": 2}, {"matrix": "plain", "n": 1}]
        assert read_chip({**plain, "lanes": groups}).matrices == ("plain",) * 3
        groups[0]["memory"] = "ultra"
        chip = read_chip({**plain, "lanes": groups})
        assert chip.matrices == ("plain+ultra", "plain+ultra", "plain")
        assert build_core(chip).n_lanes == 3

    def test_identifier(self, plain: Tables) -> None:
        assert read_chip({**plain, "name": "a-b-2"}).identifier == "a_b_2"

    def test_derived_widths(self, plain: Tables) -> None:
        derived = read_chip(plain).derived
        assert derived["score_width"] == 16 + 5
        assert derived["acc_width"] == 14 + 8 + 4 + 9
        assert derived["p_max"] == 16319

    def test_operands_of_4_bits(self, plain: Tables) -> None:
        chip = read_chip({**plain, "stationary_width": 4})
        assert chip.derived["score_width"] == 8 + 4 + 5
        assert chip.derived["acc_width"] == 14 + 4 + 4 + 9
        chip = read_chip({**plain, "stream_width": 4})
        assert chip.resolved()["softmax"]["p_width"] == chip.numerics.p_width == 7
        assert chip.lane_parameters["p_width"] == 7
        assert read_chip(chip.resolved()).numerics == chip.numerics
        assert read_chip(plain).replace(stream_width=4).numerics == chip.numerics
        chip = read_chip({**plain, "stream_width": 4, "softmax": {"p_width": 6}})
        assert (chip.derived["score_width"], chip.derived["digits"]) == (4 + 8 + 5, 2)
        assert chip.lane_parameters["stream_width"] == 4
        assert chip.resolved()["stationary_width"] == 8

    def test_is_frozen(self, plain: Tables) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            read_chip(plain).size = 16

    def test_replace_checks_the_variant(self, plain: Tables) -> None:
        chip = read_chip(plain)
        assert chip.replace(tokens=1024).tokens == 1024
        with pytest.raises(InputError, match=r"^The variant has a mistake:\n  block = 12: "):
            chip.replace(block=12)

    def test_constructor_checks_too(self, plain: Tables) -> None:
        with pytest.raises(ValidationError, match="must be a multiple of size, 8"):
            ChipDescription(**{**plain, "block": 12, "lanes": (LaneGroup(matrix="plain", n=1),)})

    def test_index_is_a_name_or_a_table(self, plain: Tables, tmp_path: Path) -> None:
        given = {**plain, "sparse": True}
        chip = read_chip({**given, "index": "coverage"})
        assert chip == read_chip({**given, "index": {"method": "coverage"}})
        assert chip == read_chip(given).replace(index="coverage")
        assert chip.resolved()["index"] == {
            "method": "coverage",
            "gamma": 0.9,
            "tau": 0.1,
            "min_budget": 1024,
            "tokens": 512,
            "key_heads": 1,
            "heads_ahead": 1,
            "memory": "auto",
            "top_k": 128,
            "init_blocks": 1,
            "local_blocks": 2,
        }
        file = tmp_path / "copy.toml"
        file.write_text(chip.to_toml())
        assert read_chip(file).to_toml() == file.read_text()

    def test_index_follows_the_chip(self, plain: Tables) -> None:
        lanes = [{"matrix": "plain", "n": 6}]
        chip = read_chip({**plain, "lanes": lanes, "sparse": True, "index": "window"})
        assert chip.resolved()["index"]["key_heads"] == 4
        table = {"method": "coverage", "gamma": 0.8, "tau": 0, "min_budget": 64, "max_budget": 128}
        rule = read_chip({**plain, "sparse": True, "index": table}).coverage_rule
        assert rule == CoverageRule(gamma=0.8, tau=0.0, min_budget=64, max_budget=128)

    def test_chips_without_an_index_do_not_show_one(self, plain: Tables) -> None:
        chip = read_chip(plain)
        assert chip.index.method == "dense"
        assert "index" not in chip.resolved()
        assert "index" not in chip.to_toml()
        assert chip.kernel_parameters == read_chip({**plain, "index": "dense"}).kernel_parameters

    def test_cache(self, plain: Tables, tmp_path: Path) -> None:
        given = {**plain, "lanes": [{"matrix": "plain", "n": 3}], "sparse": True}
        table = {"hot_blocks": 64, "cold_blocks": 32, "hot_threshold": 0.3}
        chip = read_chip({**given, "cache": table})
        assert chip.resolved()["cache"] == {
            "policy": "next-use",
            "hot_blocks": 64,
            "cold_blocks": 32,
            "hot_threshold": 0.3,
            "lookahead": 6,
            "hot_memory": "auto",
            "cold_memory": "auto",
            "split": False,
            "window_slots": 1,
            "lane_blocks": 4,
        }
        assert chip.pairs_per_window == 3
        assert [chip.hot_above(blocks) for blocks in (7, 32, 256)] == [2, 9, 77]  # 0.3 is 77/256
        file = tmp_path / "copy.toml"
        file.write_text(chip.to_toml())
        assert read_chip(file).to_toml() == file.read_text()
        without, has = read_chip(given).kernel_parameters, chip.kernel_parameters
        assert {name for name in has if has[name] != without.get(name)} == {"kv_blocks", "cache"}
        assert (has["slots"], has["kv_blocks"]) == (2, 4)
        assert dict(has["cache"]) == {
            "policy": "next-use",
            "hot": 64,
            "cold": 32,
            "lookahead": 6,
            "threshold": 77,  # of 256
            "windows": 1024,
            "split": 0,
            "hot_memory": "auto",
            "cold_memory": "auto",
            "per_lane": 1,
        }

    def test_cache_of_two_memories(self, plain: Tables) -> None:
        table = {"hot_blocks": 2, "cold_blocks": 2, "split": True, "hot_memory": "ultra"}
        chip = read_chip({**plain, "sparse": True, "cache": {**table, "window_slots": 2}})
        assert (chip.cache.hot_memory, chip.cache.cold_memory) == ("ultra", "auto")
        assert chip.pairs_per_window == 2
        assert dict(chip.kernel_parameters["cache"])["lookahead"] == 1
        assert chip.kernel_parameters["slots"] == 4
        assert dict(chip.kernel_parameters["cache"])["hot_memory"] == "ultra"

    @pytest.mark.parametrize("table", [{"policy": "lru"}, {"lookahead": 2}])
    def test_a_cache_has_blocks(self, plain: Tables, table: Tables) -> None:
        message = r"cache\.cold_blocks = 0: must be 1 or more, or hot_blocks, where there is to be"
        with pytest.raises(InputError, match=message):
            read_chip({**plain, "sparse": True, "cache": table})

    @pytest.mark.parametrize("table", [{}, {"policy": "none", "hot_blocks": 9}])
    def test_no_cache(self, plain: Tables, table: Tables) -> None:
        chip = read_chip({**plain, "sparse": True, "cache": table})
        assert chip.cache.slots == 0
        assert ("cache" in chip.to_toml()) == bool(table)

    def test_schema_describes_every_key(self) -> None:
        schema = ChipDescription.model_json_schema()
        for name, entry in schema["properties"].items():
            assert entry.get("description") or name in ("softmax", "memory")
        (table, word) = schema["properties"]["index"]["anyOf"]
        assert table["$ref"] == "#/$defs/Index"
        assert word["enum"] == ["coverage", "forecast", "window", "dense"]
        assert all(
            entry["description"] for entry in schema["$defs"]["Index"]["properties"].values()
        )
        assert all(
            entry["description"] for entry in schema["$defs"]["Cache"]["properties"].values()
        )
        assert schema["additionalProperties"] is False
