"""AXI as the pins that vendors' tools look for: ``m00_axi_araddr`` and all the others."""

from typing import Any

from amaranth.hdl import Const, Module, Shape, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .signature import AXI4, AXI4Lite, AXI4Read, AXI4Write

__all__ = ["bus_pins", "connect_bus_pins"]

# Inputs and outputs that no stream here has, and what the outputs are. Cache "modifiable and
# bufferable" lets an interconnect widen and join transfers (IHI 0022, A4.4); protection is
# unprivileged, secure, data.
_CONSTANT = {"lock": (1, 0), "cache": (4, 3), "prot": (3, 0), "qos": (4, 0), "region": (4, 0)}
_LITE_CONSTANT = {"prot": (3, 0)}


def bus_pins(prefix: str, bus: wiring.Signature) -> dict[str, wiring.Member]:
    """Return the members of a component that has ``bus`` as pins.

    Parameters
    ----------
    prefix : str
        What each name begins with: ``m00_axi`` gives ``m00_axi_awaddr``.
    bus : AXI4, AXI4Read, AXI4Write or AXI4Lite
        What the pins carry, as a manager or, flipped, as a subordinate has it.
    """
    flips = isinstance(bus, wiring.FlippedSignature)
    plain = bus.flip() if flips else bus
    if not isinstance(plain, (AXI4, AXI4Read, AXI4Write, AXI4Lite)):
        raise TypeError(f"Pins must be of an AXI bus, not of {bus!r}")
    constant = _LITE_CONSTANT if isinstance(plain, AXI4Lite) else _CONSTANT
    pins: dict[str, wiring.Member] = {}
    for channel, member in plain.members.items():
        outwards = member.flow == Out
        for name, width in _fields(member.signature).items():
            pins[f"{prefix}_{channel}{name}"] = (Out if outwards else In)(width)
        if channel in ("aw", "ar"):
            pins |= {
                f"{prefix}_{channel}{name}": Out(width) for name, (width, _) in constant.items()
            }
        pins[f"{prefix}_{channel}valid"] = (Out if outwards else In)(1)
        pins[f"{prefix}_{channel}ready"] = (In if outwards else Out)(1)
    return {name: member.flip() for name, member in pins.items()} if flips else pins


def connect_bus_pins(
    m: Module, component: Any, prefix: str, bus: Any, *, is_open: Value | None = None
) -> None:
    """Connect the pins of ``component`` to ``bus``, which belongs to a part of it.

    Parameters
    ----------
    bus : interface
        Of a manager, whose ``aw`` leaves, or of a subordinate, whose ``aw`` enters.
    is_open : value, optional
        While it is 0 the component neither offers nor takes anything.
    """
    signature = bus.signature
    flips = isinstance(signature, wiring.FlippedSignature)
    plain = signature.flip() if flips else signature
    constant = _LITE_CONSTANT if isinstance(plain, AXI4Lite) else _CONSTANT
    for channel, member in plain.members.items():
        port = getattr(bus, channel)
        outwards = (member.flow == Out) != flips

        def pin(name: str, channel: str = channel) -> Value:
            return Value.cast(getattr(component, f"{prefix}_{channel}{name}"))

        def opened(bit: Value) -> Value:
            return bit if is_open is None else bit & is_open

        for name in _fields(member.signature):
            inner = Value.cast(port.payload[name])
            m.d.comb += pin(name).eq(inner) if outwards else inner.eq(pin(name))
        if outwards:
            m.d.comb += [pin("valid").eq(opened(port.valid)), port.ready.eq(pin("ready"))]
            if channel in ("aw", "ar"):
                m.d.comb += [pin(name).eq(Const(v, w)) for name, (w, v) in constant.items()]
        else:
            m.d.comb += [port.valid.eq(pin("valid")), pin("ready").eq(opened(port.ready))]


def _fields(signature: wiring.Signature) -> dict[str, int]:
    """Return the fields of a channel's payload, as plain bits: pins have no enumerations."""
    assert isinstance(signature, stream.Signature)
    layout = signature.members["payload"].shape
    return {name: Shape.cast(shape).width for name, shape in layout.members.items()}
