"""Connecting two streams, payload shapes compared."""

from typing import Any

from amaranth.hdl import Module, Shape, ShapeCastable
from amaranth.lib import stream, wiring

__all__ = ["connect_fields", "connect_stream", "payload_shape"]


def payload_shape(interface: Any) -> Any:
    """Return the payload shape of a stream, as it was declared.

    Raises
    ------
    TypeError
        When ``interface`` is not a stream.
    """
    signature = getattr(interface, "signature", None)
    if isinstance(signature, wiring.FlippedSignature):
        signature = signature.flip()
    if not isinstance(signature, stream.Signature):
        raise TypeError(f"A stream is needed, not {interface!r}")
    return signature.members["payload"].shape


def connect_stream(m: Module, src: Any, dst: Any) -> None:
    """Connect the stream ``src`` to the stream ``dst``.

    Like :func:`amaranth.lib.wiring.connect`, which compares only the widths of payloads: without a
    word it connects two layouts of equal size whose fields differ.

    Parameters
    ----------
    m : :class:`amaranth.hdl.Module`
        The module whose combinational domain gets the connection.
    src, dst : streams
        Where items come from and where they go to. A port of the component itself needs
        :func:`amaranth.lib.wiring.flipped`.

    Raises
    ------
    TypeError
        When one of the two is not a stream, or when the payload shapes differ.
    """
    shapes = [payload_shape(src), payload_shape(dst)]
    if _comparable(shapes[0]) != _comparable(shapes[1]):
        raise TypeError(f"Payload shapes must be equal, not {shapes[0]!r} and {shapes[1]!r}")
    wiring.connect(m, src=src, dst=dst)


def connect_fields(m: Module, src: Any, dst: Any) -> None:
    """Connect the stream ``src`` to the stream ``dst``, whose payload may have fewer fields.

    Raises
    ------
    TypeError
        When one of the two is not a stream, or ``dst`` has a field that ``src`` has not, or has of
        another shape.
    """
    if payload_shape(src) == payload_shape(dst):
        connect_stream(m, src, dst)
        return
    theirs, mine = payload_shape(src).members, payload_shape(dst).members
    for name, shape in mine.items():
        if name not in theirs or _comparable(theirs[name]) != _comparable(shape):
            raise TypeError(f"Field {name!r} must be {shape!r}, not {theirs.get(name)!r}")
        m.d.comb += dst.payload[name].eq(src.payload[name])
    m.d.comb += [dst.valid.eq(src.valid), src.ready.eq(dst.ready)]


def _comparable(shape: Any) -> Any:
    """Make ``8`` and ``unsigned(8)`` one thing; layouts and formats compare by themselves."""
    return shape if isinstance(shape, ShapeCastable) else Shape.cast(shape)
