"""From a part of a tensor to a place in memory."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..axi.command import HALF
from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index
from .call import request_layout

__all__ = ["Locator", "fetch_layout", "located_layout"]


def fetch_layout(
    *, to: object, n_channels: int, address_width: int, tokens: int, beats: int
) -> data.StructLayout:
    """Return the layout of what is to be moved: ``beats`` from ``addr`` on, of one channel."""
    return data.StructLayout(
        {
            "to": to,
            "channel": index(n_channels),
            "addr": address_width,
            "beats": range(beats + 1),
            "tokens": range(tokens + 1),
        }
    )


def located_layout(
    *,
    to: object,
    tokens: int,
    head_dim: int,
    element_width: int,
    n_channels: int,
    data_width: int,
    address_width: int,
    **_: object,
) -> data.StructLayout:
    """Return :func:`fetch_layout` for a tensor, from the parameters of its locator."""
    return fetch_layout(
        to=to,
        n_channels=n_channels,
        address_width=address_width,
        tokens=tokens,
        beats=-(-tokens * head_dim * element_width // data_width),
    )


class Locator(Component):
    """Say where in memory a tile or a block of a tensor is.

    A tensor consists of blocks of ``block`` tokens, each ``d_tiles * size`` elements, token-major;
    the last block of a head is as large as any. Block ``g`` lies on channel ``g % n_channels`` of
    the tensor, as number ``g // n_channels`` behind that channel's pointer.

    A request takes five cycles, and one for each bit of ``d_tiles``: the product is made bit by
    bit.

    Parameters
    ----------
    to : shape-like
        Who a request is for; passed on.
    blocks, tiles, tokens : int
        Most blocks of the tensor, tiles of a block that can be asked for, tokens of a request.
    size, block, head_dim : int
        Rows and columns of an array; tokens of a block; largest head dimension.
    element_width : int
        Bits of an element in memory.
    n_channels : int
        Channels that the tensor is spread over; a power of two.
    data_width, address_width : int
        Bits of a beat and of an address.
    narrows : bool
        Whether a call's elements may have a quarter of ``element_width``.

    Members
    -------
    narrow : In(1)
        With ``narrows``: those of this call have.
    d_tiles : In
        head_dim of the call in units of ``size``.
    pointers : In
        One per channel; multiples of a beat's bytes.
    i : In(stream)
        Requests: :func:`~qkloom.rtl.sequencer.call.request_layout`.
    o : Out(stream)
        :func:`fetch_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, a tile is no whole number of beats, or channels
        are no power of two.
    """

    def __init__(
        self,
        *,
        to: Any,
        blocks: int,
        tiles: int,
        tokens: int,
        size: int,
        block: int,
        head_dim: int,
        element_width: int,
        n_channels: int,
        data_width: int,
        address_width: int = 64,
        narrows: bool = False,
    ) -> None:
        check_count("Number of channels", n_channels)
        if n_channels & n_channels - 1:
            raise ValueError(f"Number of channels must be a power of two, not {n_channels}")
        if block % size:
            raise ValueError(f"Block must be a multiple of size {size}, not {block}")
        self._narrows = narrows
        least = element_width // 4 if narrows else element_width
        if size * size * least % data_width:
            raise ValueError(
                f"A tile of {size} x {size} elements of {least} bits must be whole beats "
                f"of {data_width}"
            )
        self._tile_bytes = size * size * element_width // 8
        self._tiles_per_block = block // size
        self._row_bits, self._beat_bits = size * element_width, data_width
        self._n_channels, self._channel_bits = n_channels, ceil_log2(n_channels)
        self._blocks = blocks
        fetch = located_layout(**self.parameters)
        super().__init__(
            {
                **({"narrow": In(1)} if narrows else {}),
                "d_tiles": In(range(head_dim // size + 1)),
                "pointers": In(data.ArrayLayout(address_width, n_channels)),
                "i": In(
                    stream.Signature(
                        request_layout(to=to, blocks=blocks, tiles=tiles, tokens=tokens)
                    )
                ),
                "o": Out(stream.Signature(fetch)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Multiply tile number and tokens by ``d_tiles``, both at once; add in two halves."""
        m = Module()
        i, o = self.i.payload, self.o.payload
        width = len(self.d_tiles)
        channel = Signal.like(o.channel)
        local = Signal(range(-(-self._blocks // self._n_channels) + 1))  # block on its channel
        tile_index = Signal(len(local) + ceil_log2(self._tiles_per_block))
        tiles_addend = Signal(len(tile_index) + width)
        rows_addend = Signal(len(i.tokens) + width)
        tiles = Signal.like(tiles_addend)  # of the array's size, before this one
        rows = Signal.like(rows_addend)  # of the array's size, in it
        factor = Signal(width)
        offset = Signal(len(o.addr))  # tiles are of a power of two of bytes: wires
        beats = Signal.like(o.beats)
        low = Signal(HALF + 1)
        high = Signal(len(o.addr) - HALF)
        pointer = Signal(len(o.addr))
        # The whole request stays at `i` until it is done: nothing of it is stored.
        wide = Cat(Const(0, ceil_log2(self._tile_bytes)), tiles)
        m.d.comb += [offset.eq(wide), beats.eq(self._beats(rows, self._row_bits))]
        if self._narrows:
            with m.If(self.narrow):
                m.d.comb += [offset.eq(wide[2:]), beats.eq(self._beats(rows, self._row_bits // 4))]
        m.d.comb += [
            channel.eq(i.index[: self._channel_bits]),
            local.eq(i.index[self._channel_bits :]),
            tile_index.eq(local * self._tiles_per_block + i.tile),
            o.to.eq(i.to),
            o.tokens.eq(i.tokens),
            o.channel.eq(channel),
            o.addr.eq(Cat(low[:HALF], high)),
        ]
        m.d.sync += pointer.eq(self.pointers[channel])  # both stay while a request does
        with m.FSM():
            with m.State("take"):
                m.d.sync += [
                    tiles_addend.eq(tile_index),
                    rows_addend.eq(i.tokens),
                    tiles.eq(0),
                    rows.eq(0),
                    factor.eq(self.d_tiles),
                ]
                with m.If(self.i.valid):
                    m.next = "multiply"
            with m.State("multiply"):
                with m.If(factor[0]):
                    m.d.sync += [tiles.eq(tiles + tiles_addend), rows.eq(rows + rows_addend)]
                m.d.sync += [
                    factor.eq(factor >> 1),
                    tiles_addend.eq(tiles_addend << 1),
                    rows_addend.eq(rows_addend << 1),
                ]
                with m.If(factor[1:] == 0):
                    m.next = "low"
            with m.State("low"):
                m.d.sync += [
                    low.eq(pointer[:HALF] + offset[:HALF]),
                    o.beats.eq(beats),
                ]
                m.next = "high"
            with m.State("high"):
                m.d.sync += high.eq(pointer[HALF:] + offset[HALF:] + low[HALF])
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "take"
        return m

    def _beats(self, rows: Signal, row_bits: int) -> Value:
        """Return the beats that so many rows take, the last one perhaps in part."""
        if row_bits >= self._beat_bits:
            return rows * (row_bits // self._beat_bits)
        per_beat = self._beat_bits // row_bits
        return (rows + (per_beat - 1)) >> ceil_log2(per_beat)
