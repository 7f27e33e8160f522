"""Checker: compare a stream with a ROM, for ever."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...rtl.check import check_count
from ...rtl.component import Component
from .feed import check_words

__all__ = ["Checker"]


class Checker(Component):
    """Compare what arrives with the words of a ROM, over and over.

    A verdict takes three cycles: the ROM is read while an item is taken over, then come the
    differences bit by bit, then whether there is one.

    Parameters
    ----------
    shape : shape-like
        Shape of the payload.
    words : tuple of int
        Bits of each payload expected, again from the first after the last.
    patience : int
        Cycles without an item that are allowed: a power of two. A core that hangs has failed.

    Members
    -------
    i : stream, in
        What is to be compared; always ready.
    spoil : In(1)
        Expect the lowest bit of an item that is taken now to be another: shows that a difference
        is noticed.
    passed : Out(1)
        All items of the ROM have arrived at least once, and no item ever differed.
    failed : Out(1)
        An item differed, or none came for ``patience`` cycles. It stays until a reset.
    rounds : Out(32)
        How often all items have arrived, modulo 2^32; of no meaning once failed.

    Raises
    ------
    TypeError, ValueError
        When there is no word, one has too many bits, or ``patience`` is no power of two.
    """

    def __init__(self, *, shape: Any, words: tuple[int, ...], patience: int = 1 << 16) -> None:
        check_words(words, shape)
        if check_count("Patience", patience) & patience - 1:
            raise ValueError(f"Patience must be a power of two, not {patience!r}")
        self._shape, self._words, self._patience = shape, words, patience
        super().__init__(
            {
                "i": In(stream.Signature(shape, always_ready=True)),
                "spoil": In(1),
                "passed": Out(1),
                "failed": Out(1),
                "rounds": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Read what is expected while an item moves into a register, and compare the two."""
        m = Module()
        n = len(self._words)
        width = Shape.cast(self._shape).width
        m.submodules.rom = rom = Memory(shape=width, depth=n, init=self._words)
        r_port = rom.read_port()
        index = Signal(range(n))
        is_last = Signal()
        m.d.comb += [r_port.addr.eq(index), r_port.en.eq(1), is_last.eq(index == n - 1)]
        with m.If(self.i.valid):
            m.d.sync += index.eq(Mux(is_last, 0, index + 1))

        item = Signal(width, reset_less=True)
        spoilt = Signal(reset_less=True)
        difference = Signal(width, reset_less=True)
        differs = Signal(reset_less=True)
        m.d.sync += [
            item.eq(Value.cast(self.i.payload)),
            spoilt.eq(self.spoil),
            difference.eq(item ^ r_port.data ^ spoilt),
            differs.eq(difference.any()),
        ]
        # Where an item is, and whether it ends the round, on its way past these registers.
        comes, ends = self.i.valid, self.i.valid & is_last
        for stage in ("taken", "compared", "judged"):
            came, ended = Signal(name=stage), Signal(name=f"{stage}_last")
            m.d.sync += [came.eq(comes), ended.eq(ends)]
            comes, ends = came, ended

        silence = Signal(range(2 * self._patience))
        late = Signal()
        m.d.comb += late.eq(silence[-1])
        with m.If(self.i.valid):
            m.d.sync += silence.eq(0)
        with m.Elif(~late):
            m.d.sync += silence.eq(silence + 1)

        done = Signal()
        m.d.comb += self.passed.eq(done & ~self.failed)
        with m.If((comes & differs) | late):
            m.d.sync += self.failed.eq(1)
        with m.If(ends):
            m.d.sync += [done.eq(1), self.rounds.eq(self.rounds + 1)]
        return m
