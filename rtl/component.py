"""The base of every component: keyword parameters that alone decide its hardware."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from amaranth.hdl import Fragment
from amaranth.lib import data, wiring

__all__ = ["Component", "pass_over"]

_NAME_LENGTH = 48
"""Characters of a module's name; what distinguishes modules beyond that is up to the emitter."""

_WORDS = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Between the words of a class name: ``AXI|Slice``."""

_USUAL = {"stream_width": 8, "stationary_width": 8, "multiplier": "plain"}
"""Parameters that go without saying: names of int8 hardware do not tell of its operands."""


class Component(wiring.Component):
    """A hardware component that a generator may share between all its uses.

    Two components of one class with equal parameters are the same hardware. An emitter relies on
    that: it elaborates one of them and instantiates the module everywhere. So elaboration may
    depend on nothing but ``parameters`` and the platform object that it is handed.

    A platform that shares modules has a method ``instantiate(component, elaborate)``; without one
    (the Amaranth simulator, or a platform of the user's own) the component elaborates in place.

    Members
    -------
    parameters : mapping
        Every keyword parameter of the constructor, defaults included; read-only and hashable
        values.
    module_name : str
        The name of the module in emitted Verilog, made from class and parameters.

    Raises
    ------
    TypeError
        When a parameter is positional, unknown, missing, or not hashable.
    """

    keep_boundary: ClassVar[bool] = False
    """Whether compiled simulators keep this component as a unit instead of flattening it."""

    _constructor: ClassVar[inspect.Signature]
    _parameters: Mapping[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> "Component":
        """Capture the parameters before the constructor of the class runs."""
        if args:
            raise TypeError(f"{cls.__name__} takes keyword parameters only, not {args[0]!r}")
        self: Component = super().__new__(cls, src_loc_at=1)
        bound = cls._constructor.bind(**kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            try:
                hash(value)
            except TypeError:
                raise TypeError(f"Parameter {name!r} must be immutable, not {value!r}") from None
        self._parameters = MappingProxyType(dict(bound.arguments))
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note the constructor; let a sharing platform replace elaboration by an instance."""
        super().__init_subclass__(**kwargs)
        own = list(inspect.signature(cls.__init__).parameters.values())[1:]
        cls._constructor = inspect.Signature(own)
        if "elaborate" in cls.__dict__:
            cls.elaborate = _shareable(cls.__dict__["elaborate"])

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Keyword parameters of the constructor, by name."""
        return self._parameters

    @property
    def module_name(self) -> str:
        """Name of the emitted module: the class, and as many parameters as stay readable."""
        name = _WORDS.sub("_", type(self).__name__).lower()
        for parameter in self._parameters.items():
            word = _spell(*parameter)
            if len(name) + len(word) > _NAME_LENGTH:
                break
            name += word
        return name


def _spell(name: str, value: Any) -> str:
    """Spell one parameter as part of a Verilog identifier."""
    if isinstance(value, bool):
        return f"_{name}" if value else ""
    if (name, value) in _USUAL.items():
        return ""
    if isinstance(value, data.Layout):
        return f"_{value.size}b"
    text = value if isinstance(value, str) else f"{name}{value}"
    return "_" + "".join(c if c.isalnum() else "_" for c in text).strip("_").lower()


def _shareable(elaborate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(elaborate)
    def wrapped(self: Component, platform: Any) -> Any:
        instantiate = getattr(platform, "instantiate", None)
        return elaborate(self, platform) if instantiate is None else instantiate(self, elaborate)

    return wrapped


class _Nobody:
    """A platform object that builds nothing."""

    def instantiate(self, component: Component, elaborate: Callable[[Any, Any], Any]) -> Fragment:
        return Fragment()


def pass_over(component: Component) -> None:
    """Count a component as used that nobody elaborates: its equal was, or its ports are enough."""
    Fragment.get(component, _Nobody())
