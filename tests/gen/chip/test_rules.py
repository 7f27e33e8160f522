import re
from typing import Any

import pytest

from qkloom.gen.chip import read_chip
from qkloom.tb.tensors import InputError

Tables = dict[str, Any]


def mistakes(tables: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_chip(tables)
    first, *lines = str(caught.value).splitlines()
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert first == f"The description has {count}:"
    return [line.strip() for line in lines]


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
        ({"index": 3}, r"index = 3: must be a table; for example index = \"coverage\"$"),
        (
            {"index": "covrage"},
            r"index\.method = \"covrage\": must be one of 'coverage', 'forecast', 'w.*; ",
        ),
        ({"index": {"gama": 0.9}}, r"index\.gama = 0\.9: is not a key of .*did you mean gamma"),
        (
            {"index": {"gamma": 1.01}},
            r"index\.gamma = 1\.01: must be at most 1\.0; .* gamma = 0\.9$",
        ),
        (
            {"index": {"gamma": -0.1}},
            r"index\.gamma = -0\.1: must be at least 0\.0; .* gamma = 0\.9$",
        ),
        ({"index": {"gamma": float("nan")}}, r"index\.gamma = nan: must be a finite number; "),
        ({"index": {"tau": 2}}, r"index\.tau = 2: must be at most 1\.0; for example tau = 0\.1$"),
        ({"index": {"min_budget": -1}}, r"index\.min_budget = -1: must be at least 0; "),
        (
            {"index": {"min_budget": 64, "max_budget": 32}},
            r"index\.max_budget = 32: must be at least min_budget, 64; use 64 or more, or leave ",
        ),
        (
            {"index": {"heads_ahead": 3}},
            r"index\.heads_ahead = 3: must be at most 1, the lanes, which score a head each; use 1",
        ),
        (
            {
                "lanes": [{"matrix": "plain", "n": 8}],
                "tokens": 131072,
                "size": 4,
                "block": 8,
                "index": {"heads_ahead": 8},
            },
            r"index\.heads_ahead = 8: must be at most \d, whose averages fit into a queue; use \d ",
        ),
        (
            {"index": {"tokens": 513}},
            r"index\.tokens = 513: must be at most tokens, 512, .*; use 512 or leave it out$",
        ),
        ({"index": {"top_k": 129}}, r"index\.top_k = 129: must be at most 128; .* top_k = 128$"),
        (
            {"index": "coverage"},
            r"index\.method = \"coverage\": must be \"dense\" of a chip .*; add sparse = true, or ",
        ),
        (
            {"index": "coverage", "sparse": True, "block": 24},
            r"block = 24: must be a power of two from 8 to 128 with .*; use 16, or another method$",
        ),
        (
            {"index": "coverage", "sparse": True, "block": 256},
            r"block = 256: must be a power of two .*; use 128, or another method$",
        ),
        (
            {"index": "coverage", "sparse": True, "stationary_width": 4},
            r"index\.method = \"coverage\": must be another one unless .*, not 8 and 4: .*; use ",
        ),
        (
            {"index": {"method": "forecast", "top_k": 8, "local_blocks": 7}, "sparse": True},
            r"index\.top_k = 8: must be at least 9: init_blocks, .*; use 9 or more, or fewer init_",
        ),
        (
            {"index": {"method": "forecast", "local_blocks": 127}, "sparse": True},
            r"index\.top_k = 128: must be at least 129: .* always taken; use fewer init_blocks ",
        ),
        (
            {"index": "forecast", "sparse": True, "tokens": 524289},
            r"tokens = 524289: must be at most 524288 .* 8192 blocks of 64 tokens; use index\.",
        ),
        (
            {"index": {"method": "forecast", "tokens": 1 << 20}, "sparse": True, "tokens": 1 << 20},
            r"index\.tokens = 1048576: must be at most 524288 with ",
        ),
        ({"cache": 3}, r"cache = 3: must be a table; "),
        ({"cache": {"hot_block": 3}}, r"cache\.hot_block = 3: is not a key of .*mean hot_blocks"),
        (
            {"cache": {"policy": "fifo"}},
            r"cache\.policy = \"fifo\": must be one of 'next-use', 'liveness', 'lru', 'none'; ",
        ),
        ({"cache": {"hot_blocks": -1}}, r"cache\.hot_blocks = -1: must be at least 0; "),
        ({"cache": {"hot_threshold": 2}}, r"cache\.hot_threshold = 2: must be at most 1\.0; "),
        ({"cache": {"lookahead": 0}}, r"cache\.lookahead = 0: must be at least 1; "),
        (
            {"cache": {"hot_blocks": 8, "cold_blocks": 4}},
            r"cache\.hot_blocks = 8: must be 0 of a chip whose calls .*; add sparse = true, or ",
        ),
        (
            {"cache": {"cold_blocks": 4}},
            r"cache\.cold_blocks = 4: must be 0 of a chip whose calls take no selection",
        ),
        (
            {"sparse": True, "cache": {"hot_blocks": 2, "cold_blocks": 2, "lookahead": 5}},
            r"cache\.lookahead = 5: must be at most 4, hot_blocks and .*; use 4 or less, or leave ",
        ),
        (
            {"sparse": True, "cache": {"cold_blocks": 4, "cold_memory": "ultra"}},
            r"cache\.cold_memory = \"ultra\": must be hot_memory, \"auto\", .*; use ",
        ),
        (
            {"sparse": True, "cache": {"cold_blocks": 4, "split": True}},
            r"cache\.split = true: must be false unless both .*, not 0 and 4; use hot_",
        ),
        (
            {"sparse": True, "cache": {"cold_blocks": 4, "window_slots": 5}},
            r"cache\.window_slots = 5: must be at most 4: a lane holds twice .*; use 4 or less, ",
        ),
    ],
)
def test_one(changes: dict[str, Any], message: str, plain: Tables) -> None:
    (line,) = mistakes({**plain, **changes})
    assert re.match(message, line), line


def test_a_small_array_has_no_blocks_of_its_size(plain: Tables) -> None:
    small = {**plain, "size": 4, "sparse": True, "index": "coverage"}
    (line,) = mistakes({**small, "block": 4})
    assert line.startswith("block = 4: must be a power of two from 8 to 128 with ")
    assert read_chip({**small, "block": 8}).index.method == "coverage"


def test_wide_enough_accumulator_is_fine(plain: Tables) -> None:
    assert read_chip({**plain, "acc_width": 35}).acc_width == 35


def test_products_of_matrices(plain: Tables) -> None:
    chip = read_chip({**plain, "gemm": True, "size": 16})
    assert chip.lane_parameters["gemm"] is chip.kernel_parameters["gemm"] is True
    assert chip.lane_parameters["out_width"] == 4
    assert "gemm" not in read_chip(plain).lane_parameters


def test_all_at_once_and_rules_of_what_is_right_by_itself(plain: Tables) -> None:
    lines = mistakes(
        {
            **plain,
            "block": 12,
            "tokens": "many",
            "lanes": [{"matrix": "dps", "n": 0}, {"n": 1}],
            "softmax": {"p_width": 3},
            "acc_width": 2,
            "color": "red",
            "index": {"method": "coverage", "tokens": "all", "max_budget": 1},
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
        "index.tokens",
        "color",
        "block",
        "index.method",
        "index.max_budget",
        "block",
    ]


def test_nothing_given() -> None:
    required = ["name", "clock_mhz", "lanes", "size", "block", "head_dim", "tokens"]
    assert [line.partition(":")[0] for line in mistakes({})] == required


def test_no_addresses() -> None:
    assert "http" not in "".join(mistakes({"size": "8"}))
