"""The streams of a component, found in its signature."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from amaranth.hdl import Const, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In

__all__ = ["StreamPorts", "streams_of"]


@dataclass(frozen=True, eq=False)
class StreamPorts:
    """One stream on the outside of a component.

    Members
    -------
    name : str
        As in emitted hardware, where its ports are ``name__payload`` and so on.
    is_input : bool
        Whether payloads go into the component.
    shape : shape
        Of the payload.
    payload : Value or None
        Bits of the payload, as a signal of the component; ``None`` if there are none.
    valid, ready : Value or None
        Signals of the component; ``None`` where the stream is always valid, always ready.
    """

    name: str
    is_input: bool
    shape: Any
    payload: Value | None
    valid: Value | None
    ready: Value | None


def streams_of(component: Any) -> list[StreamPorts]:
    """Return the streams of a component in the order of its signature."""
    ports = {}
    for path, member, value in component.signature.flatten(component):
        bits = Value.cast(value)
        used = None if isinstance(bits, Const) or not len(bits) else bits
        ports["__".join(map(str, path))] = member, used
    found = []
    for name in _names(component.signature, ()):
        member, payload = ports[f"{name}__payload"]
        _, valid = ports[f"{name}__valid"]
        _, ready = ports[f"{name}__ready"]
        found.append(StreamPorts(name, member.flow == In, member.shape, payload, valid, ready))
    return found


def _names(signature: Any, path: tuple[str, ...]) -> Iterator[str]:
    # What goes into a component is a flipped view of a signature.
    if stream.Signature in (type(signature), type(signature.flip())):
        yield "__".join(path)
        return
    for name, member in signature.members.items():
        if member.is_signature and math.prod(member.dimensions):
            for index in product(*map(range, member.dimensions)):
                yield from _names(member.signature, (*path, name, *map(str, index)))
