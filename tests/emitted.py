"""Designs of components, emitted once however many tests of a file run them."""

from typing import Any

from qkloom.gen.emit import emit
from qkloom.rtl.component import Component
from qkloom.tb.design import Design

__all__ = ["emitted"]

_DESIGNS: dict[Any, Design] = {}


def emitted(component: Component, **options: Any) -> Design:
    """Return the design of a component, as :func:`~qkloom.gen.emit.emit` does.

    That takes seconds for a lane, and a component is what its parameters say.
    """
    key = type(component), *component.parameters.items(), *options.items()
    if key not in _DESIGNS:
        _DESIGNS[key] = emit(component, **options)
    return _DESIGNS[key]
