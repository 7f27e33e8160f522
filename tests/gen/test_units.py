import inspect
from typing import Any

import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from qkloom.gen.emit import emit
from qkloom.gen.units import Unit, _can_be_typed, find_unit, find_units, parse_options
from qkloom.rtl.component import Component
from qkloom.rtl.formats import F16, I4, I8, U8
from qkloom.rtl.matrix.dsp import DspMatrixUnit
from qkloom.rtl.matrix.stationary import MatrixUnit
from qkloom.rtl.stream import Queue
from qkloom.tb.tensors import InputError

MATRIX, QUEUE = Unit("matrix", MatrixUnit), Unit("queue", Queue)


class TestRegistry:
    def test_names(self) -> None:
        names = set(find_units())
        assert {"core", "lane", "matrix", "queue", "row-unit", "tile-buffer"} <= names

    def test_every_unit_says_what_it_is_and_takes(self) -> None:
        for unit in find_units().values():
            assert unit.summary.endswith("."), unit.name
            assert unit.usage().startswith("--"), unit.name

    def test_objects_cannot_be_typed(self) -> None:
        class Pair(Component):
            def __init__(self, *, of: Queue, all_of: tuple[Queue, ...]) -> None:
                super().__init__({})

        assert not any(map(_can_be_typed, inspect.signature(Pair).parameters.values()))
        assert all(map(_can_be_typed, inspect.signature(MatrixUnit).parameters.values()))

    def test_unknown(self) -> None:
        with pytest.raises(InputError, match=r"^'matriks' is not a unit \(did you mean matrix\?\)"):
            find_unit("matriks")

    def test_usage_shows_defaults(self) -> None:
        assert QUEUE.usage() == "--shape --depth --registered false"

    def test_defaults_of_a_lane_are_those_of_the_tiny_chip(self) -> None:
        usage = find_unit("lane").usage()
        assert "--size 8 --block-rows 16 --head-dim 64 --tokens 1024 --p-width 14" in usage


class TestEmission:
    @pytest.mark.parametrize("name", find_units())
    def test_every_unit_can_be_emitted_alone(self, name: str) -> None:
        unit = find_unit(name)
        assert emit(unit.build(unit.example())).ports


class TestOptions:
    def test_forms(self) -> None:
        words = ["--rows", "8", "--low=-4", "--flag", "--stream", "i4"]
        options = {"rows": "8", "low": "-4", "flag": "true", "stream": "i4"}
        assert parse_options(words) == options

    def test_not_an_option(self) -> None:
        with pytest.raises(InputError, match=r"^'8' must be an option, such as --rows 8$"):
            parse_options(["8"])

    def test_twice(self) -> None:
        with pytest.raises(InputError, match=r"^--rows must be given once$"):
            parse_options(["--rows", "1", "--rows", "2"])


class TestBuild:
    @pytest.mark.parametrize(
        ("options", "parameters"),
        [
            ({}, {"stream": I8, "stationary": I8, "tag": unsigned(0)}),
            ({"stream": "i4", "tag": "3"}, {"stream": I4, "tag": unsigned(3)}),
            ({"stationary": "U8", "tag": "i8x4"}, {"stationary": U8}),
        ],
    )
    def test_parameters(self, options: dict[str, str], parameters: dict[str, Any]) -> None:
        unit = MATRIX.build({"rows": "2", "cols": "3", **options})
        for name, value in {"rows": 2, "cols": 3, **parameters}.items():
            assert unit.parameters[name] == value

    def test_shapes(self) -> None:
        for text, shape in (("f16", F16), ("12", unsigned(12)), ("i8x2", data.ArrayLayout(I8, 2))):
            queue = QUEUE.build({"shape": text, "depth": "3", "registered": "true"})
            assert queue.parameters["shape"] == shape
            assert queue.parameters["registered"] is True

    def test_tuples(self) -> None:
        core = find_unit("core").build({"lanes": "plain,plain"})
        assert core.parameters["lanes"] == ("plain", "plain")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"row": "1"},
                r"--row is not an option of matrix \(did you mean rows\?\); it takes --",
            ),
            (
                {"rows": "1"},
                r"--cols must be given, for example matrix --rows 4 --cols 4; it takes --rows --c",
            ),
            ({"rows": "x", "cols": "1"}, r"--rows must be an integer, not 'x'$"),
            ({"rows": "0", "cols": "1"}, r"matrix: .* must be .*, not 0; it takes --rows "),
            (
                {"rows": "1", "cols": "1", "tag": "?"},
                r"--tag must be bits \(12\), a format .*'\?'$",
            ),
            (
                {"rows": "1", "cols": "1", "stream": "8"},
                r"--stream must be a format \(i8, u6, f16\), not '8'$",
            ),
            ({"rows": "1", "cols": "1", "stream": "f16"}, r"matrix: .* F16; it takes --rows "),
            (
                {"rows": "1", "cols": "1", "tag": "16385"},
                r"--tag must have 0 to 16,384 bits, not 16,385; take another shape$",
            ),
        ],
    )
    def test_mistakes(self, options: dict[str, str], message: str) -> None:
        with pytest.raises(InputError, match="^" + message):
            MATRIX.build(options)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ("i99999", r"--shape must have 1 to 16,384 bits, not 99,999; take another shape$"),
            ("8x99999999", r"--shape must have 1 to 16,384 bits, not 799,999,992; "),
            ("0", r"--shape must have 1 to 16,384 bits, not 0; "),
            ("8x0", r"--shape must have 1 to 16,384 bits, not 0; "),
            ("i0", r"--shape must be bits .*, not 'i0'$"),
            ("٣", r"--shape must be bits .*, not '٣'$"),
            (":8", r"--shape must give each field .* a name of its own, .* not '' in ':8'$"),
            ("a:8,a:8", r"--shape must give each field .* not 'a' in 'a:8,a:8'$"),
            ("a-b:1", r"--shape must give each field .* not 'a-b' in 'a-b:1'$"),
            ("a:,b:1", r"--shape must be bits .*, not ''$"),
        ],
    )
    def test_shapes_that_are_none(self, shape: str, message: str) -> None:
        with pytest.raises(InputError, match="^" + message):
            QUEUE.build({"shape": shape, "depth": "2"})

    def test_depth_that_no_memory_has(self) -> None:
        with pytest.raises(InputError, match=r"^queue: Depth must be at most 65536, not 99999999;"):
            QUEUE.build({"shape": "8", "depth": "99999999"})

    def test_switch(self) -> None:
        with pytest.raises(InputError, match=r"^--registered must be true or false, not 'yes'$"):
            QUEUE.build({"shape": "8", "depth": "1", "registered": "yes"})

    def test_parameters_are_of_the_constructor(self) -> None:
        assert list(MATRIX.parameters) == list(inspect.signature(MatrixUnit).parameters)


class TestKinds:
    def test_the_kind_chooses_the_class(self):
        matrix = find_unit("matrix")
        sizes = {"rows": "2", "cols": "2"}
        assert type(matrix.build(sizes)) is MatrixUnit
        assert type(matrix.build({**sizes, "kind": "dsp"})) is DspMatrixUnit
        assert matrix.usage().startswith("--kind plain|dsp|lut --rows --cols ")
        with pytest.raises(InputError, match=r"^--kind of matrix must be one of plain, dsp, lut, "):
            matrix.build({**sizes, "kind": "dps"})

    def test_options_of_every_kind_are_shown(self):
        matrix = find_unit("matrix")
        assert matrix.usage().endswith(" --tag 0; of kind lut also --planes parallel")
        options = {"rows": "2", "cols": "2", "planes": "serial"}
        assert matrix.build({**options, "kind": "lut"}).parameters["planes"] == "serial"
        with pytest.raises(
            InputError,
            match=r"^--planes is not an option of matrix --kind plain; .* of kind lut also --pl",
        ):
            matrix.build(options)
        with pytest.raises(
            InputError, match=r"^--plane is .* --kind lut \(did you mean planes\?\); "
        ):
            matrix.build({"kind": "lut", "plane": "serial"})

    def test_the_chosen_kind_says_what_it_is(self):
        matrix = find_unit("matrix")
        assert matrix.chosen({}).summary.startswith("The systolic array")
        assert matrix.chosen({"kind": "lut"}).summary.startswith("A matrix unit without multipl")
