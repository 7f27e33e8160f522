"""From beats of memory to rows of an array."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.command import beat_layout
from ..check import check_count
from ..component import Component
from ..formats import Integer
from ..lane.count import count_to
from ..stream import WideSlice, connect_stream

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

    Rate one row a cycle, over the ends of beats and of fetches. From a fetch to its first row two
    cycles, from a beat one. ``o`` comes from registers; ``beat.ready`` and ``i.ready`` do not come
    from ``o.ready``.

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
        """Choose a row of the beat; count rows of tokens, and tokens, down to the last ones."""
        m = Module()
        i, beat = self.i, self.beat
        per_beat = self._data_width // self._row_width
        m.submodules.out = out = WideSlice(shape=self.o.payload.shape())
        connect_stream(m, out.o, wiring.flipped(self.o))
        to = Signal.like(i.payload.to, name="to", reset_less=True)
        has_fetch = Signal()
        tokens_left = Signal.like(i.payload.tokens, name="tokens_left", reset_less=True)
        is_last_token = Signal(reset_less=True)  # of the data
        filling = Signal()
        row_number = Signal(range(per_beat))
        is_last_row = Signal(init=per_beat == 1)  # of the beat
        moves = Signal()
        chunk = count_to(m, self.d_tiles, moves=moves, name="chunk")
        token_ends = Signal()
        ends = Signal()  # the data of this fetch, with this row
        over = Signal()
        row = Signal(self._row_width)
        with m.Switch(row_number):
            for k in range(per_beat):
                with m.Case(k):
                    m.d.comb += row.eq(beat.payload.data.word_select(k, self._row_width))
        m.d.comb += [
            out.i.payload.to.eq(to),
            out.i.payload.item.row.as_value().eq(row & ~filling.replicate(self._row_width)),
            out.i.payload.item.last.eq(chunk.is_last),
            out.i.valid.eq(has_fetch & (beat.valid | filling)),
            moves.eq(out.i.valid & out.i.ready),
            token_ends.eq(moves & chunk.is_last),
            ends.eq(chunk.is_last & is_last_token),
            beat.ready.eq(has_fetch & ~filling & out.i.ready & (is_last_row | ends)),
            i.ready.eq(~has_fetch | over),
        ]
        with m.If(moves & ~filling):
            m.d.sync += [
                row_number.eq(row_number + 1),
                is_last_row.eq(row_number == (per_beat - 2) % per_beat),
            ]
            with m.If(is_last_row | ends):
                m.d.sync += [row_number.eq(0), is_last_row.eq(per_beat == 1)]
        with m.If(token_ends):
            m.d.sync += [tokens_left.eq(tokens_left - 1), is_last_token.eq(tokens_left == 2)]
        if self._fills:
            token = Signal(range(self._tokens), reset_less=True)
            tile_ends = Signal(reset_less=True)  # with this token
            m.d.comb += over.eq(token_ends & tile_ends)
            with m.If(token_ends):
                m.d.sync += [token.eq(token + 1), tile_ends.eq(token == self._tokens - 2)]
                with m.If(is_last_token):
                    m.d.sync += filling.eq(1)
            with m.If(i.ready):
                m.d.sync += [token.eq(0), tile_ends.eq(self._tokens == 1), filling.eq(0)]
        else:
            m.d.comb += over.eq(token_ends & is_last_token)
        with m.If(i.ready):
            m.d.sync += [
                has_fetch.eq(i.valid),
                to.eq(i.payload.to),
                tokens_left.eq(i.payload.tokens),
                is_last_token.eq(i.payload.tokens == 1),
            ]
        return m
