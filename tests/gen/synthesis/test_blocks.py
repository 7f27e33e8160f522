from qkloom.gen.synthesis.blocks import find_blocks
from qkloom.gen.synthesis.netlist import Cell, Module, Netlist
from qkloom.gen.synthesis.target import find_target


def module(name, *cells):
    named = [Cell(name, kind, {}, frozenset(), {}) for name, kind in cells]
    return Module(name, {}, {}, named, {})


def luts(n):
    return [(f"l{k}", "LUT6") for k in range(n)]


CHIP = Netlist(
    "chip",
    {
        "chip": module(
            "chip",
            *[(f"lane_{k}", "lane") for k in (10, 9, 11)],
            ("tiny", "small"),
            ("store", "ram"),
            *luts(4),
        ),
        "lane": module("lane", ("matrix", "array"), ("odd", "small"), *luts(20)),
        "array": module("array", *[(f"pe_{r}_{c}", "pe") for r in (0, 1) for c in (0, 1)]),
        "pe": module("pe", *luts(20)),
        "small": module("small", *luts(1)),
        "ram": module("ram", ("m", "RAMB36E2")),
    },
)


def test_lines():
    blocks = find_blocks(CHIP, find_target("xcup"))
    lines = [(b.depth, b.name, b.path, b.n, b.counts["lut"], b.counts["bram36"]) for b in blocks]
    assert lines == [
        (0, "store", "store", 1, 0, 1),
        (0, "lane_9..11", "lane_9", 3, 303, 0),
        (1, "matrix", "lane_9.matrix", 3, 240, 0),
        (2, "pe_0_0..1_1", "lane_9.matrix.pe_0_0", 12, 240, 0),
        (1, "rest", "lane_9.rest", 3, 63, 0),
        (0, "rest", "rest", 1, 5, 0),
    ]
    assert blocks[1].instances == ("lane_9", "lane_10", "lane_11")


def test_lines_of_each_level_add_up():
    target = find_target("xcup")
    blocks = find_blocks(CHIP, target)
    whole = target.count(CHIP.cells["chip"])
    for name, total in whole.items():
        assert sum(block.counts[name] for block in blocks if block.depth == 0) == total


def test_every_part_of_a_listed_block_has_a_line():
    modules = {
        **CHIP.modules,
        "top": module("top", ("chip", "chip"), ("extra", "small"), ("wires", "none"), *luts(2)),
        "none": module("none"),
    }
    blocks = find_blocks(Netlist("top", modules), find_target("xcup"), ("", "chip"))
    assert [(b.depth, b.path, b.counts["lut"]) for b in blocks] == [
        (0, "chip", 308),
        (1, "chip.store", 0),
        (1, "chip.lane_9", 303),
        (2, "chip.lane_9.matrix", 240),
        (3, "chip.lane_9.matrix.pe_0_0", 240),
        (2, "chip.lane_9.rest", 63),
        (1, "chip.tiny", 1),
        (1, "chip.rest", 4),
        (0, "extra", 1),
        (0, "rest", 2),
    ]


def test_design_without_parts():
    netlist = Netlist("m", {"m": module("m", *luts(3))})
    (rest,) = find_blocks(netlist, find_target("xcup"))
    assert (rest.name, rest.counts["lut"]) == ("rest", 3)


def test_empty_design():
    assert find_blocks(Netlist("m", {"m": module("m")}), find_target("xcup")) == []
