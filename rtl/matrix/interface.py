"""What all weight-stationary matrix units have in common: parameters, streams, admission."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, unsigned
from amaranth.lib import data
from amaranth.lib.stream import Signature as StreamSignature
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..delay import Delay
from ..formats import I8, Fixed, Integer, ceil_log2

__all__ = ["MOST", "Admission", "WeightStationary", "check_integer"]

MOST = 1024
"""Most rows or columns of an array; a larger number is a typing mistake."""


def check_integer(name: str, number: object) -> Fixed:
    """Return ``number`` when it is an integer format."""
    if not isinstance(number, Fixed) or number.f:
        raise TypeError(f"{name} operand must be an integer format, not {number!r}")
    return number


@dataclass(frozen=True)
class Admission:
    """What happens in a cycle.

    Members
    -------
    load : Signal
        A tile row is taken.
    offered : Value
        A streaming row is there, and its tile: it is taken if the unit has room.
    taken : Signal
        A streaming row is taken.
    swap : Signal
        It is the first under the next tile.
    is_signed : Signal
        Its elements are two's complement.
    """

    load: Signal
    offered: Value
    taken: Signal
    swap: Signal
    is_signed: Value


class WeightStationary(Component):
    """Multiply streaming rows by a stationary tile.

    Column c of a result is the sum over r of ``i.row[r] * tile[r][c]``. The next tile loads into a
    shadow while rows stream under the one before.

    Parameters
    ----------
    rows : int
        Length of a streaming row, which is also the number of rows of a tile.
    cols : int
        Columns of a tile.
    stream : Fixed
        Streaming operand.
    stationary : Fixed
        Elements of a tile.
    mixed_signs : bool
        Whether each tile says if the operands that stream under it are signed, so that only the
        width of ``stream`` counts. If not, what tiles say is ignored.
    tag : shape
        What travels with a row.

    Members
    -------
    tile : In(stream)
        ``rows`` beats per tile, row 0 first. ``is_signed``, equal in all of them: the operands that
        stream under this tile are two's complement. Ready while the shadow has room.
    i : In(stream)
        ``row``, ``tag`` and ``new_tile``: this row is the first under the next tile. Such a row
        waits until that tile has been taken completely. Rows before the first tile multiply
        garbage.
    o : Out(stream, always ready)
        ``row`` and ``tag``, one beat for each beat of ``i``, in order.
    latency : int
        Cycles from a beat taken at ``i`` to its result at ``o``.
    load_cycles : int
        Cycles that a tile takes to load, and so the least that it stays.
    acc_width : int
        Bits of a result, signed; no operands overflow it.

    Raises
    ------
    TypeError, ValueError
        When a format is not an integer format, or a number of rows or columns not positive.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        stream: Fixed = I8,
        stationary: Fixed = I8,
        mixed_signs: bool = True,
        tag: Any = unsigned(0),  # noqa: B008 - shapes are immutable
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self._rows = check_count("Number of rows", rows, most=MOST)
        self._cols = check_count("Number of columns", cols, most=MOST)
        self._stream = check_integer("Streaming", stream)
        self._stationary = check_integer("Stationary", stationary)
        self._mixed_signs = mixed_signs
        tile = {"row": data.ArrayLayout(stationary, cols), "is_signed": 1, **(more or {})}
        i = {"row": data.ArrayLayout(stream, rows), "new_tile": 1, "tag": tag}
        o = {"row": data.ArrayLayout(Integer(self.acc_width), cols), "tag": tag}
        super().__init__(
            {
                "tile": In(StreamSignature(data.StructLayout(tile))),
                "i": In(StreamSignature(data.StructLayout(i))),
                "o": Out(StreamSignature(data.StructLayout(o), always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a beat taken at ``i`` to its result at ``o``."""
        raise NotImplementedError

    @property
    def load_cycles(self) -> int:
        """Cycles that a tile takes to load."""
        raise NotImplementedError

    @property
    def acc_width(self) -> int:
        """Bits of a result."""
        width = self._stream.width + self._stationary.width + ceil_log2(self._rows)
        return width + (not self._stationary.is_signed)

    def _admit(
        self, m: Module, *, loaded: ValueLike, room: ValueLike = 1, room_for_rows: ValueLike = 1
    ) -> Admission:
        """Hand the shadow to the tile stream until the tile is complete, then to the rows.

        ``loaded`` pulses when a tile is complete; it may do so in the cycle of its last beat. The
        unit can refuse tile rows (``room``) and rows of any kind (``room_for_rows``).
        """
        i, tile = self.i.payload, self.tile.payload
        complete = Signal()
        offered = self.i.valid & (complete | ~i.new_tile)
        taken = Signal()
        swap = Signal()
        load = Signal()
        m.d.comb += [
            self.i.ready.eq(room_for_rows & (complete | ~i.new_tile)),
            taken.eq(self.i.valid & self.i.ready),
            swap.eq(taken & i.new_tile),
            self.tile.ready.eq(room & (~complete | swap)),
            load.eq(self.tile.valid & self.tile.ready),
        ]
        with m.If(swap):
            m.d.sync += complete.eq(0)
        with m.If(loaded):
            m.d.sync += complete.eq(1)
        if not self._mixed_signs:
            return Admission(load, offered, taken, swap, Const(self._stream.is_signed, 1))
        next_signed = Signal(reset_less=True)
        last_signed = Signal(reset_less=True)
        is_signed = Signal()
        m.d.comb += is_signed.eq(Mux(i.new_tile, next_signed, last_signed))
        with m.If(load):
            m.d.sync += next_signed.eq(tile.is_signed)
        with m.If(swap):
            m.d.sync += last_signed.eq(next_signed)
        return Admission(load, offered, taken, swap, is_signed)

    def _answer(self, m: Module, taken: Value, row: ValueLike) -> None:
        """Offer ``row`` the latency after its operands were taken, with its tag."""
        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(taken, valid))
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.payload.row.eq(row)]
        tag = Value.cast(self.i.payload.tag)
        if len(tag):
            m.submodules.tag = tag_delay = Delay(width=len(tag), cycles=self.latency)
            m.d.comb += [tag_delay.i.eq(tag), Value.cast(self.o.payload.tag).eq(tag_delay.o)]
