"""Single components: every public one can be generated alone, named and parametrized as text."""

import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args, get_origin

from amaranth.hdl import Shape, unsigned
from amaranth.lib import data

from .. import rtl
from ..rtl import formats
from ..rtl.component import Component
from ..rtl.matrix.kinds import MATRIX_KINDS
from ..tb.errors import InputError
from .chip import read_chip
from .mistakes import suggestion

__all__ = ["Unit", "find_unit", "find_units", "parse_options"]

# Units of one interface go by one name and a kind; the others by the name of their class.
_KINDS: dict[str, Mapping[str, type[Component]]] = {"matrix": MATRIX_KINDS}

# Values to start from where neither the component nor a chip has any; other numbers are 4.
_EXAMPLES = {
    "shape": "8",
    "lanes": "plain,plain",
    "n": "2",
    "banks": "2",
    "product-width": "19",
    "data-width": "64",
    "element-width": "8",
    "entry-width": "32",
    "item": "row:i24x2,last:1",
    "n-channels": "2",
}
WIDEST = 16_384
"""Most bits of a shape: Amaranth has 65,535 for a signal, and components join several."""

_NUMBER = "[0-9]{1,9}"
_FLOATS = {f.name.lower(): f for f in (formats.F16, formats.BF16, formats.F32)}

_EXAMPLES_OF = {
    "collector": {"element-width": "32"},
    "locator": {"block": "16"},
    "join": {"shape": "row:i8x4,last:1"},
    "output-mover": {"element-width": "32"},
    "either-walker": {"block": "16"},
    "pair-source": {"dot-width": "16"},
    "product-walker": {"block": "16"},
    "skew": {"lanes": "4"},
    "step-start": {"shape": "slot:1,gemm:1", "row-shape": "slot:1"},
    "spacer": {"shape": "row:i8x4,new_tile:1"},
    "beat-memory": {"width": "16"},
    "vector-memory": {"width": "16"},
    "block-masses": {"block": "16", "lane-tokens": "1024"},
    "row-partials": {"block": "16"},
    "score-sums": {"block": "16"},
    "partial-table": {"rows": "4", "block": "16", "blocks": "64", "score-sum-width": "30"},
    "weigher": {"rows": "4", "partial-width": "23", "mass-width": "29"},
    "log2": {"width": "26"},
    "turns": {"shape": "x:8,last:1"},
    "aware-queries": {"block": "16"},
    "selection-mover": {"row-bytes": "32"},
    "index-unit": {"block": "16", "lane-tokens": "1024", "row-bytes": "32"},
    "coverage-unit": {"block": "16", "lane-tokens": "1024", "dot-width": "64", "key-heads": "2"},
    "key-store": {"block": "16", "dot-width": "64"},
    "tile-pool": {"block": "16"},
    "assigner": {"per-lane": "2"},
    "scout": {"per-lane": "2", "block": "16"},
    "cache-control": {"policy": "next-use"},
    "row-store": {"parts": "4,2+ultra", "block": "16"},
    "block-cache": {"policy": "next-use", "block": "16"},
    "slot-table": {"blocks": "64", "k": "8"},
    "tail-blocks": {"blocks": "64", "k": "8"},
    "load-order": {"blocks": "64", "k": "8"},
}


@dataclass(frozen=True)
class Unit:
    """A component class under the name that the command line knows it by.

    Members
    -------
    name : str
        Words in small letters, joined by hyphens.
    component : type
        The class.
    kinds : mapping
        Classes that ``--kind`` chooses from instead, by its value; ``component`` is the first.
    """

    name: str
    component: type[Component]
    kinds: Mapping[str, type[Component]] = field(default_factory=dict)

    def chosen(self, options: Mapping[str, str]) -> "Unit":
        """Return the unit of the kind that options name; without ``--kind`` of the first.

        Raises
        ------
        InputError
            When there is no such kind.
        """
        kind = options.get("kind")
        if not self.kinds or kind is None:
            return self
        if kind not in self.kinds:
            raise InputError(
                f"--kind of {self.name} must be one of {', '.join(self.kinds)}, not {kind!r}"
                f"{suggestion(kind, self.kinds)}"
            )
        return replace(self, component=self.kinds[kind])

    @property
    def summary(self) -> str:
        """First line of the documentation."""
        return (inspect.getdoc(self.component) or "").partition("\n")[0].replace("``", "`")

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Keyword parameters by name; where a default is missing, ``u280-tiny`` may have one."""
        tiny = read_chip("u280-tiny")
        parameters = {}
        for name, parameter in inspect.signature(self.component).parameters.items():
            default = parameter.default
            if default is parameter.empty:
                default = tiny.lane_parameters.get(name, getattr(tiny.numerics, name, default))
            parameters[name] = parameter.replace(default=default)
        return parameters

    def usage(self) -> str:
        """Return the options of the unit, of every kind, defaults included."""
        if not self.kinds:
            return " ".join(_usage(p) for p in self.parameters.values())
        kinds = {kind: Unit(self.name, of).parameters for kind, of in self.kinds.items()}
        shared = {n for n in self.parameters if all(n in of for of in kinds.values())}
        first = next(iter(kinds.values()))
        options = [_usage(p) for name, p in first.items() if name in shared]
        text = " ".join([f"--kind {'|'.join(kinds)}", *options])
        for kind, of in kinds.items():
            if own := [_usage(p) for name, p in of.items() if name not in shared]:
                text += f"; of kind {kind} also {' '.join(own)}"
        return text

    @property
    def _title(self) -> str:
        """Name, and kind if there are several."""
        kinds = [f"--kind {kind}" for kind, of in self.kinds.items() if of is self.component]
        return " ".join([self.name, *kinds])

    def example(self) -> dict[str, str]:
        """Return values of the options that must be given."""
        known = _EXAMPLES | _EXAMPLES_OF.get(self.name, {})
        return {
            option: known.get(option) or _example(p.annotation)
            for option, p in ((_kebab(name), p) for name, p in self.parameters.items())
            if p.default is p.empty
        }

    def build(self, options: Mapping[str, str]) -> Component:
        """Build the component from options as a user types them.

        Raises
        ------
        InputError
            When an option is unknown, missing or refused by the component.
        """
        if self.kinds and "kind" in options:
            rest = {name: value for name, value in options.items() if name != "kind"}
            return self.chosen(options).build(rest)
        names = {_kebab(name): name for name in self.parameters}
        for option in options:
            if option not in names:
                raise InputError(
                    f"--{option} is not an option of {self._title}{suggestion(option, names)}; "
                    f"it takes {self.usage()}"
                )
        arguments = {}
        for option, name in names.items():
            parameter = self.parameters[name]
            if option in options:
                arguments[name] = _parse(options[option], parameter)
            elif parameter.default is parameter.empty:
                words = " ".join(f"--{name} {value}" for name, value in self.example().items())
                raise InputError(
                    f"--{option} must be given, for example {self.name} {words}; "
                    f"it takes {self.usage()}"
                )
            else:
                arguments[name] = parameter.default
        try:
            return self.component(**arguments)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name}: {error}; it takes {self.usage()}") from error


def find_units() -> dict[str, Unit]:
    """Return every public component of ``qkloom.rtl`` whose parameters can be typed, by name."""
    units = {name: Unit(name, next(iter(of.values())), of) for name, of in _KINDS.items()}
    grouped = {component for of in _KINDS.values() for component in of.values()}
    for module in _modules(rtl):
        for name in getattr(module, "__all__", []):
            component = getattr(module, name)
            if (
                inspect.isclass(component)
                and issubclass(component, Component)
                and component.__module__ == module.__name__
                # Base classes lack a constructor or a body.
                and "__init__" in vars(component)
                and hasattr(component, "elaborate")
                and component not in grouped
                and all(map(_can_be_typed, inspect.signature(component).parameters.values()))
            ):
                unit = _kebab(component.__name__)
                units[unit] = Unit(unit, component)
    return dict(sorted(units.items()))


def find_unit(name: str) -> Unit:
    """Return the unit called ``name``.

    Raises
    ------
    InputError
        When there is none.
    """
    units = find_units()
    if name not in units:
        raise InputError(
            f"{name!r} is not a unit{suggestion(name, units)}; units are {', '.join(units)}"
        )
    return units[name]


def parse_options(words: Sequence[str]) -> dict[str, str]:
    """Read ``--rows 8 --cols=4 --registered`` as a mapping; an option without value says ``true``.

    Raises
    ------
    InputError
        When a word is no option and no value of one.
    """
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InputError(f"{word!r} must be an option, such as --rows 8")
        if name in options:
            raise InputError(f"--{name} must be given once")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        options[name] = value
    return options


def _modules(package: types.ModuleType) -> Iterable[types.ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        yield importlib.import_module(found.name)


def _can_be_typed(parameter: inspect.Parameter) -> bool:
    """Tell whether a value has a spelling on the command line: an object of ours has none."""
    kinds = [parameter.annotation, *get_args(parameter.annotation)]
    if any(get_origin(kind) is tuple for kind in kinds[1:]):
        return False  # a table
    ours = [k for k in kinds if inspect.isclass(k) and k.__module__.startswith(rtl.__name__ + ".")]
    return all(map(_is_format, ours))


def _is_format(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, formats.NumberFormat)


def _example(kind: Any) -> str:
    return "true" if kind is bool else "i8" if _is_format(kind) else "4"


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


def _usage(parameter: inspect.Parameter) -> str:
    """Return an option and its default."""
    default = parameter.default
    value = "" if default in (parameter.empty, None) else f" {_spell(default)}"
    return f"--{_kebab(parameter.name)}{value}"


def _spell(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, Shape):
        return str(default.width)
    return (
        str(default).lower() if isinstance(default, bool | formats.NumberFormat) else str(default)
    )


def _parse(text: str, parameter: inspect.Parameter) -> Any:
    """Read a value of the kind that the parameter is annotated with."""
    kind = parameter.annotation
    if kind is str:
        return text
    if get_origin(kind) in (tuple, Sequence):
        return tuple(text.split(","))
    if kind is bool:
        if text not in ("true", "false"):
            raise InputError(f"--{_kebab(parameter.name)} must be true or false, not {text!r}")
        return text == "true"
    if int in (kind, *get_args(kind)):
        if not re.fullmatch(r"-?\d+", text):
            raise InputError(f"--{_kebab(parameter.name)} must be an integer, not {text!r}")
        return int(text)
    option = _kebab(parameter.name)
    shape = _parse_shape(text, option)
    # What may have no bits has none by default.
    least = int(parameter.default != unsigned(0))
    if not least <= (width := Shape.cast(shape).width) <= WIDEST:
        raise InputError(
            f"--{option} must have {least} to {WIDEST:,} bits, not {width:,}; take another shape"
        )
    if _is_format(kind) and not isinstance(shape, formats.NumberFormat):
        raise InputError(f"--{option} must be a format (i8, u6, f16), not {text!r}")
    return shape


def _parse_shape(text: str, option: str) -> Any:
    """Read a shape: bits (`12`), a format (`i8`), several (`i8x16`), a struct (`a:i8,b:1`)."""
    if ":" in text:
        fields: dict[str, Any] = {}
        for word in text.split(","):
            name, _, of = word.partition(":")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in fields:
                raise InputError(
                    f"--{option} must give each field of a struct a name of its own, of letters, "
                    f"digits and _ (row:i8x16,last:1), and not {name!r} in {text!r}"
                )
            fields[name] = _parse_shape(of, option)
        return data.StructLayout(fields)
    if text.lower() in _FLOATS:
        return _FLOATS[text.lower()]
    if match := re.fullmatch(rf"(\w+?)x({_NUMBER})", text.lower()):
        return data.ArrayLayout(_parse_shape(match[1], option), int(match[2]))
    if match := re.fullmatch(rf"([iu]?)({_NUMBER})", text.lower()):
        sign, width = match[1], int(match[2])
        if not sign:
            return unsigned(width)
        if width:
            return formats.Integer(width, is_signed=sign == "i")
    raise InputError(
        f"--{option} must be bits (12), a format (i8, u6, f16), several (i8x16) or a struct "
        f"(row:i8x16,last:1), not {text!r}"
    )
