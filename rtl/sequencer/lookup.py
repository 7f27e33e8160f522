"""Looking things up in a table in memory."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..axi.command import HALF, beat_layout, command_layout
from ..check import check_count
from ..component import Component
from ..formats import ceil_log2
from ..lane.job import index

__all__ = ["Lookup"]


class Lookup(Component):
    """Answer with an entry of a table in memory, of which the latest beat is kept.

    Three cycles an answer, and the time of a read when the entry is not in that beat: neighbours
    come together, so that most are.

    Parameters
    ----------
    entries : int
        Most entries.
    entry_width : int
        Bits of an entry in memory; a power of two, up to ``data_width``.
    data_width, address_width : int
        Bits of a beat and of an address.

    Members
    -------
    base : In
        Address of entry 0; a multiple of a beat's bytes.
    forget : In(1)
        The table may be another one now.
    i : In(stream)
        Numbers of entries.
    o : Out(stream)
        The entries.
    command : Out(stream)
        Beats to read.
    beat : In(stream)
        What was read.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer, or a width no power of two.
    """

    def __init__(
        self, *, entries: int, entry_width: int, data_width: int, address_width: int = 64
    ) -> None:
        check_count("Entries", entries)
        for name, width in (("Entry width", entry_width), ("Data width", data_width)):
            check_count(name, width)
            if width & width - 1:
                raise ValueError(f"{name} must be a power of two, not {width}")
        if entry_width > data_width:
            raise ValueError(f"Entry width must be at most {data_width}, not {entry_width}")
        self._entry_width, self._data_width = entry_width, data_width
        command = command_layout(address_width=address_width, beats=1)
        super().__init__(
            {
                "base": In(address_width),
                "forget": In(1),
                "i": In(stream.Signature(index(entries))),
                "o": Out(stream.Signature(entry_width)),
                "command": Out(stream.Signature(command)),
                "beat": In(stream.Signature(beat_layout(data_width=data_width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Compare line numbers; read if they differ; shift the entry out of the beat."""
        m = Module()
        i, command = self.i.payload, self.command.payload
        within_bits = ceil_log2(self._data_width // self._entry_width)
        within = Signal(max(within_bits, 1))
        line = Signal(max(len(i) - within_bits, 1))
        kept_line = Signal.like(line)
        is_kept = Signal()
        kept = Signal(self._data_width, reset_less=True)
        reads = Signal()  # a register that enables all of `kept`: no gate does
        answers = Signal()
        offset = Signal(len(command.addr))
        low = Signal(HALF + 1)
        high = Signal(len(command.addr) - HALF)
        m.d.comb += [
            within.eq(i[:within_bits]),
            line.eq(i[within_bits:]),
            offset.eq(Cat(Const(0, ceil_log2(self._data_width // 8)), line)),
            command.addr.eq(Cat(low[:HALF], high)),
            command.beats.eq(1),
            self.beat.ready.eq(reads),
            self.o.valid.eq(answers),
            self.i.ready.eq(answers & self.o.ready),
        ]
        with m.If(reads):
            m.d.sync += kept.eq(self.beat.payload.data)
        with m.FSM():
            with m.State("compare"):
                m.d.sync += low.eq(self.base[:HALF] + offset[:HALF])
                with m.If(self.i.valid):
                    m.next = "add"
                    with m.If(is_kept & (line == kept_line)):
                        m.next = "select"
            with m.State("add"):
                m.d.sync += [
                    high.eq(self.base[HALF:] + offset[HALF:] + low[HALF]),
                    kept_line.eq(line),
                    is_kept.eq(1),
                ]
                m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.d.sync += reads.eq(1)
                    m.next = "read"
            with m.State("read"), m.If(self.beat.valid):
                m.d.sync += reads.eq(0)
                m.next = "select"
            with m.State("select"):
                m.d.sync += self.o.payload.eq(kept.word_select(within, self._entry_width))
                m.d.sync += answers.eq(1)
                m.next = "answer"
            with m.State("answer"), m.If(self.o.ready):
                m.d.sync += answers.eq(0)
                m.next = "compare"
        with m.If(self.forget):
            m.d.sync += is_kept.eq(0)
        return m
