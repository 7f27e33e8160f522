"""The probability buffer: written in parts of a row, read in rows."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from .job import check_chunk, check_digits, check_operand, index
from .rescale import RESCALE

__all__ = ["ProbabilityBuffer"]


class ProbabilityBuffer(Component):
    """Two banks of probability rows, each with the rescale that goes with it into the output.

    Parameters
    ----------
    size : int
        Probabilities in a row: keys of a tile.
    block_rows : int
        Rows in a bank.
    row_width : int
        Probabilities written at a time.
    digits : int
        Digits of a probability, the high one first.
    stream_width : int
        Bits of a digit.

    Members
    -------
    w : In(stream)
        ``bank``, ``row``, ``chunk``, ``digits``, ``rescale``; always taken.
    r : In
        ``en``, ``bank``, ``row`` and, one cycle later, ``digits`` and ``rescale``.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or ``row_width`` does not divide ``size``.
    """

    def __init__(
        self, *, size: int, block_rows: int, row_width: int, digits: int, stream_width: int = 8
    ) -> None:
        check_count("Size", size)
        check_count("Block rows", block_rows)
        check_digits(digits)
        check_chunk("Row width", row_width, size=size)
        check_operand("Stream width", stream_width)
        self._size, self._block_rows = size, block_rows
        self._row_width = row_width
        digit = data.ArrayLayout(stream_width, digits)
        self._digit = digit
        super().__init__(
            {
                "w": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "bank": 1,
                                "row": index(block_rows),
                                "chunk": index(size // row_width),
                                "digits": data.ArrayLayout(digit, row_width),
                                "rescale": RESCALE,
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "r": In(
                    wiring.Signature(
                        {
                            "en": Out(1),
                            "bank": Out(1),
                            "row": Out(index(block_rows)),
                            "digits": In(data.ArrayLayout(digit, size)),
                            "rescale": In(RESCALE),
                        }
                    )
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build two memories: digits, written in parts of a row, and rescales."""
        m = Module()
        depth = 2 << ceil_log2(self._block_rows)
        m.submodules.digits = digits = Memory(
            shape=data.ArrayLayout(self._digit, self._size), depth=depth, init=[]
        )
        m.submodules.rescales = rescales = Memory(shape=RESCALE, depth=depth, init=[])
        w = digits.write_port(granularity=self._row_width)
        r = digits.read_port()
        w_rescale, r_rescale = rescales.write_port(), rescales.read_port()
        put = self.w.payload
        row_bits = ceil_log2(self._block_rows)
        for chunk in range(self._size // self._row_width):
            first = chunk * self._row_width
            m.d.comb += w.en[chunk].eq(self.w.valid & (put.chunk == chunk))
            for element in range(self._row_width):
                m.d.comb += w.data[first + element].eq(put.digits[element])
        m.d.comb += [
            w.addr.eq(Cat(put.row[:row_bits], put.bank)),
            w_rescale.en.eq(self.w.valid),
            w_rescale.addr.eq(w.addr),
            w_rescale.data.eq(put.rescale),
            r.en.eq(self.r.en),
            r.addr.eq(Cat(self.r.row[:row_bits], self.r.bank)),
            self.r.digits.eq(r.data),
            r_rescale.en.eq(self.r.en),
            r_rescale.addr.eq(r.addr),
            self.r.rescale.eq(r_rescale.data),
        ]
        return m
