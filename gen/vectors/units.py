"""Test vectors of single components: random words in, the exact model's words out."""

import random
from collections.abc import Callable

from ...rtl.component import Component
from ...tb.errors import InputError
from ..units import find_units
from . import arrays, buffers, cache, index, lane, softmax, streams, sums
from .bench import Vectors

__all__ = ["unit_vectors"]


def unit_vectors(component: Component, n: int) -> Vectors:
    """Return ``n`` test cases of a component, the same in every run.

    Raises
    ------
    InputError
        When there are none for this kind of component.
    """
    make = _maker(type(component))
    if make is None:
        units = find_units().values()
        known = ", ".join(unit.name for unit in units if _maker(unit.component))
        named = [unit.name for unit in units if unit.component is type(component)]
        raise InputError(
            f"Test vectors exist for {known}, not for {', '.join(named) or component.module_name}; "
            "leave out --vectors, or take a chip that contains it"
        )
    return make(component, n, random.Random(n))


def _maker(kind: type[Component]) -> Callable[..., Vectors] | None:
    """Return what makes the vectors of a class, or of what it derives from."""
    return next((_MAKERS[base] for base in kind.__mro__ if base in _MAKERS), None)


_MAKERS: dict[type[Component], Callable[..., Vectors]] = {
    **arrays.MAKERS,
    **buffers.MAKERS,
    **cache.MAKERS,
    **index.MAKERS,
    **lane.MAKERS,
    **softmax.MAKERS,
    **streams.MAKERS,
    **sums.MAKERS,
}
