"""AXI4, AXI4-Lite and AXI4-Stream: what their channels carry, as seen by a manager.

Every channel is a stream (``amaranth.lib.stream``), whose rules are those of AXI's handshake (AMBA
AXI specification, IHI 0022, A3.2). Signals that never change here (lock, cache, protection) exist
only as pins: see :mod:`qkloom.rtl.axi.pins`.
"""

from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..formats import ceil_log2

__all__ = [
    "AXI4",
    "BEATS",
    "BOUNDARY",
    "AXI4Lite",
    "AXI4Read",
    "AXI4Stream",
    "AXI4Write",
    "Burst",
    "Response",
    "address_layout",
    "read_layout",
    "response_layout",
    "write_layout",
]

BEATS = 256
"""Most beats of a burst."""

BOUNDARY = 4096
"""Bytes; no burst crosses a multiple of it (IHI 0022, A3.4.1)."""


class Burst(enum.Enum, shape=2):  # type: ignore[call-arg]
    """How addresses go on within a burst; managers here use ``INCR`` alone."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Response(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What became of a transfer."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _check(address_width: int, data_width: int, id_width: int) -> None:
    check_count("Address width", address_width, most=64)
    check_count("Data width", data_width, most=1024)
    check_count("ID width", id_width, most=32)
    if data_width < 8 or data_width & data_width - 1:
        raise ValueError(f"Data width must be a power of two from 8 to 1024, not {data_width}")


def address_layout(*, address_width: int, data_width: int, id_width: int = 1) -> data.StructLayout:
    """Return what AW and AR carry: ``len`` is beats less one, ``size`` log2 of bytes per beat."""
    _check(address_width, data_width, id_width)
    return data.StructLayout(
        {"id": id_width, "addr": address_width, "len": 8, "size": 3, "burst": Burst}
    )


def write_layout(*, data_width: int) -> data.StructLayout:
    """Return what W carries; ``strb`` has a bit per byte."""
    return data.StructLayout({"data": data_width, "strb": data_width // 8, "last": 1})


def response_layout(*, id_width: int = 1) -> data.StructLayout:
    """Return what B carries."""
    return data.StructLayout({"id": id_width, "resp": Response})


def read_layout(*, data_width: int, id_width: int = 1) -> data.StructLayout:
    """Return what R carries."""
    return data.StructLayout({"id": id_width, "data": data_width, "resp": Response, "last": 1})


class _Bus(wiring.Signature):
    """A signature that is equal to another of its class with the same parameters."""

    def __init__(self, members: dict[str, wiring.Member], **parameters: int) -> None:
        self._parameters = parameters
        super().__init__(members)

    @property
    def address_width(self) -> int:
        """Bits of an address."""
        return self._parameters["address_width"]

    @property
    def data_width(self) -> int:
        """Bits of a beat."""
        return self._parameters["data_width"]

    @property
    def id_width(self) -> int:
        """Bits of an ID."""
        return self._parameters["id_width"]

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_width // 8

    @property
    def beat_bits(self) -> int:
        """Bits of an address that count bytes within a beat: ``size`` of a full transfer."""
        return ceil_log2(self.beat_bytes)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._parameters == other._parameters

    def __hash__(self) -> int:
        return hash((type(self), *self._parameters.items()))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self._parameters.items())
        return f"{type(self).__name__}({inside})"


def _read_members(address_width: int, data_width: int, id_width: int) -> dict[str, wiring.Member]:
    shape = dict(address_width=address_width, data_width=data_width, id_width=id_width)
    return {
        "ar": Out(stream.Signature(address_layout(**shape))),
        "r": In(stream.Signature(read_layout(data_width=data_width, id_width=id_width))),
    }


def _write_members(address_width: int, data_width: int, id_width: int) -> dict[str, wiring.Member]:
    shape = dict(address_width=address_width, data_width=data_width, id_width=id_width)
    return {
        "aw": Out(stream.Signature(address_layout(**shape))),
        "w": Out(stream.Signature(write_layout(data_width=data_width))),
        "b": In(stream.Signature(response_layout(id_width=id_width))),
    }


class AXI4Read(_Bus):
    """The read half of AXI4: channels ``ar`` and ``r``.

    Parameters
    ----------
    address_width, data_width, id_width : int
        Bits of an address (to 64), of a beat (a power of two, 8 to 1,024), and of an ID.

    Raises
    ------
    TypeError, ValueError
        When a width is not one of these.
    """

    def __init__(self, *, address_width: int = 64, data_width: int, id_width: int = 1) -> None:
        super().__init__(
            _read_members(address_width, data_width, id_width),
            address_width=address_width,
            data_width=data_width,
            id_width=id_width,
        )


class AXI4Write(_Bus):
    """The write half of AXI4: channels ``aw``, ``w`` and ``b``; parameters as of the other half."""

    def __init__(self, *, address_width: int = 64, data_width: int, id_width: int = 1) -> None:
        super().__init__(
            _write_members(address_width, data_width, id_width),
            address_width=address_width,
            data_width=data_width,
            id_width=id_width,
        )


class AXI4(_Bus):
    """All of AXI4: the channels of :class:`AXI4Read` and of :class:`AXI4Write`."""

    def __init__(self, *, address_width: int = 64, data_width: int, id_width: int = 1) -> None:
        widths = (address_width, data_width, id_width)
        super().__init__(
            {**_write_members(*widths), **_read_members(*widths)},
            address_width=address_width,
            data_width=data_width,
            id_width=id_width,
        )


class AXI4Lite(_Bus):
    """AXI4-Lite: single beats of 32 or 64 bits, without IDs (IHI 0022, B1.1).

    ``aw`` and ``ar`` carry an address alone, ``w`` ``data`` and ``strb``, ``b`` a response, ``r``
    ``data`` and ``resp``.
    """

    def __init__(self, *, address_width: int, data_width: int = 32) -> None:
        check_count("Address width", address_width, most=64)
        if data_width not in (32, 64):
            raise ValueError(f"Data width must be 32 or 64, not {data_width!r}")
        address = stream.Signature(data.StructLayout({"addr": address_width}))
        write = data.StructLayout({"data": data_width, "strb": data_width // 8})
        read = data.StructLayout({"data": data_width, "resp": Response})
        super().__init__(
            {
                "aw": Out(address),
                "w": Out(stream.Signature(write)),
                "b": In(stream.Signature(data.StructLayout({"resp": Response}))),
                "ar": Out(address),
                "r": In(stream.Signature(read)),
            },
            address_width=address_width,
            data_width=data_width,
        )


class AXI4Stream(_Bus):
    """AXI4-Stream (IHI 0051): a channel ``t`` of ``data``, ``keep`` (a bit per byte), ``last``."""

    def __init__(self, *, data_width: int) -> None:
        check_count("Data width", data_width, most=4096)
        if data_width % 8:
            raise ValueError(f"Data width must be a multiple of 8, not {data_width}")
        beat = data.StructLayout({"data": data_width, "keep": data_width // 8, "last": 1})
        super().__init__({"t": Out(stream.Signature(beat))}, data_width=data_width)
