"""From beats of memory to rows of an array."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..axi.command import beat_layout
from ..check import check_count
from ..component import Component
from ..formats import Integer
from ..lane.count import count_to

__all__ = ["Framer", "frame_layout", "row_layout"]


def frame_layout(*, to: Any, tokens: int) -> data.StructLayout:
    """Return what is known of the rows in a fetch: who they are for, and tokens with data."""
    return data.StructLayout({"to": to, "tokens": range(tokens + 1)})


def row_layout(*, to: Any, size: int, element_width: int) -> data.StructLayout:
    """Return a row of an array on its way to a lane, ``last`` of its token."""
    row = data.StructLayout({"row": data.ArrayLayout(Integer(element_width), size), "last": 1})
    return data.StructLayout({"to": to, "item": row})


class Framer(Component):
    """Cut beats into rows of ``size`` elements, and say whose they are.

    A fetch ends with a whole beat; what it has beyond its tokens is dropped. Where a tile is wanted
    and tokens are missing, rows of zeros follow.

    Rate one row a cycle, over the ends of beats and of fetches.

    Parameters
    ----------
    to : shape-like
        Who rows are for.
    size, element_width : int
        Elements of a row, and their bits.
    tokens, head_dim : int
        Most tokens of a fetch; largest head dimension.
    data_width : int
        Bits of a beat; a multiple of a row's.
    fills : bool
        Whether every fetch becomes ``tokens`` tokens.

    Members
    -------
    d_tiles : In
        Rows of a token.
    i : In(stream)
        Fetches: :func:`frame_layout`, ``tokens`` of 1 or more.
    beat : In(stream)
        Their beats, one fetch behind the other.
    o : Out(stream)
        Rows: :func:`row_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a beat no whole number of rows.
    """

    def __init__(
        self,
        *,
        to: Any,
        size: int,
        element_width: int,
        tokens: int,
        head_dim: int,
        data_width: int,
        fills: bool,
    ) -> None:
        for name, value in {"Size": size, "Tokens": tokens, "Head_dim": head_dim}.items():
            check_count(name, value)
        self._row_width, self._data_width = size * element_width, data_width
        if data_width % self._row_width:
            raise ValueError(
                f"Data width must be a multiple of a row's {self._row_width} bits, not {data_width}"
            )
        self._tokens, self._fills = tokens, fills
        row = row_layout(to=to, size=size, element_width=element_width)
        super().__init__(
            {
                "d_tiles": In(range(head_dim // size + 1)),
                "i": In(stream.Signature(frame_layout(to=to, tokens=tokens))),
                "beat": In(stream.Signature(beat_layout(data_width=data_width))),
                "o": Out(stream.Signature(row)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Shift rows out of a register; count chunks of tokens, and tokens."""
        m = Module()
        i, beat, o = self.i, self.beat, self.o
        per_beat = self._data_width // self._row_width
        rows = Signal(self._data_width, reset_less=True)
        rows_left = Signal(range(per_beat + 1))  # in the register
        has_row = Signal()
        moves = Signal()
        filling = Signal()
        chunk = count_to(m, self.d_tiles, moves=moves, name="chunk")
        token_ends = Signal()
        tokens = Signal(range(self._tokens + 1), init=1)  # with the one that passes
        at_last_token = Signal()
        ends = Signal()  # the data of this fetch
        m.d.comb += [
            o.payload.to.eq(i.payload.to),
            o.payload.item.row.as_value().eq(Mux(filling, 0, rows[: self._row_width])),
            o.payload.item.last.eq(chunk.is_last),
            o.valid.eq(i.valid & (has_row | filling)),
            moves.eq(o.valid & o.ready),
            token_ends.eq(moves & chunk.is_last),
            at_last_token.eq(tokens == i.payload.tokens),
            ends.eq(token_ends & at_last_token & ~filling),
        ]
        drains = Signal()
        m.d.comb += [
            drains.eq(moves & ~filling & ((rows_left == 1) | ends)),
            beat.ready.eq(~has_row | drains),
        ]
        with m.If(moves & ~filling):
            m.d.sync += [rows.eq(rows >> self._row_width), rows_left.eq(rows_left - 1)]
        with m.If(drains):
            m.d.sync += has_row.eq(0)
        with m.If(beat.valid & beat.ready):
            m.d.sync += [rows.eq(beat.payload.data), rows_left.eq(per_beat), has_row.eq(1)]

        over = Signal()
        m.d.comb += i.ready.eq(over)
        with m.If(token_ends):
            m.d.sync += tokens.eq(tokens + 1)
        if self._fills:
            m.d.comb += over.eq(token_ends & (tokens == self._tokens))
            with m.If(ends & ~over):
                m.d.sync += filling.eq(1)
        else:
            m.d.comb += over.eq(ends)
        with m.If(over):
            m.d.sync += [tokens.eq(1), filling.eq(0)]
        return m
