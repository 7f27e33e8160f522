"""Register file: what a host can write and read, behind AXI4-Lite."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Lite, Response
from ..check import check_count
from ..component import Component
from .register import WORD_BYTES, Register, check_registers, status_layout, values_layout, word_of

__all__ = ["RegisterFile"]

_GROUP_BITS = 4
"""Words are chosen in groups of so many: of 16 in one cycle, between groups in the next."""


class RegisterFile(Component):
    """Registers behind an AXI4-Lite port of 32 bits.

    Address and data of a write may come in either order, and bytes without a strobe keep their
    value. Every answer is OKAY, as those of kernels made by Vitis HLS are: reads where there is no
    register give 0, writes there change nothing.

    ``values`` show what was written, and ``bus.b`` is valid, three cycles after the later one of
    the two transfers of a write; ``bus.r`` is valid three cycles after the transfer at ``bus.ar``.
    One write and one read are under way at a time, independently of each other: a write every
    three cycles, a read every four. Everything at ``bus`` and ``values`` comes straight from
    registers, ``reads`` through two LUTs.

    The two words of a 64-bit register are two transfers: a host that reads a running counter reads
    its high word, its low word, and the high word again until that is the same.

    Parameters
    ----------
    registers : tuple of Register
        In any order.
    address_width : int
        Bits of an address.

    Members
    -------
    bus : In(AXI4Lite)
        The host's.
    values : Out(struct)
        What it wrote, by register: of access ``rw`` to stay, 0 after reset; of access ``act`` the
        bits written 1, for one cycle.
    status : In(struct)
        What it reads of registers with access ``ro`` and ``act``, constants excepted.
    reads : Out(struct)
        A bit for each register with access ``act``: ``status`` is being looked at for a read.

    Raises
    ------
    TypeError, ValueError
        When the address width is not positive, or the registers are no map (:func:`check_registers
        <qkloom.rtl.control.register.check_registers>`).
    """

    def __init__(self, *, registers: tuple[Register, ...], address_width: int = 12) -> None:
        check_count("Address width", address_width, most=64)
        self._registers = check_registers(registers, address_width=address_width)
        self._address_width = address_width
        acting = {r.name: 1 for r in self._registers if r.access == "act"}
        super().__init__(
            {
                "bus": In(AXI4Lite(address_width=address_width)),
                "values": Out(values_layout(self._registers)),
                "status": In(status_layout(self._registers)),
                "reads": Out(data.StructLayout(acting)),
            }
        )

    @property
    def registers(self) -> tuple[Register, ...]:
        """The registers by address."""
        return self._registers

    def elaborate(self, platform: Any) -> Module:
        """Build the two halves, which know nothing of each other."""
        m = Module()
        self._build_write(m)
        self._build_read(m)
        return m

    def _build_write(self, m: Module) -> None:
        """Take address and data, change the word, answer."""
        aw, w, b = self.bus.aw, self.bus.w, self.bus.b
        word = Signal(self._address_width - 2, name="write_word", reset_less=True)
        write = Signal(w.payload.shape(), reset_less=True)
        aw_is_free = Signal(init=1)
        w_is_free = Signal(init=1)
        commits = Signal()
        answers = Signal()
        m.d.comb += [
            aw.ready.eq(aw_is_free),
            w.ready.eq(w_is_free),
            b.valid.eq(answers),
            b.payload.resp.eq(Response.OKAY),
        ]
        with m.If(aw_is_free):
            m.d.sync += [word.eq(aw.payload.addr[2:]), aw_is_free.eq(~aw.valid)]
        with m.If(w_is_free):
            m.d.sync += [write.eq(w.payload), w_is_free.eq(~w.valid)]
        # A register of its own: all words wait for this bit.
        m.d.sync += commits.eq(~aw_is_free & ~w_is_free & ~answers & ~commits)
        with m.If(commits):
            m.d.sync += [aw_is_free.eq(1), w_is_free.eq(1), answers.eq(1)]
        with m.If(b.ready & answers):
            m.d.sync += answers.eq(0)

        for register in self._registers:
            if register.access == "ro":
                continue
            value = Signal(len(Value.cast(self.values[register.name])), name=register.name)
            m.d.comb += Value.cast(self.values[register.name]).eq(value)
            for number in range(register.n_words):
                is_meant = Signal(name=f"writes_{register.name}_{number}")
                place = register.offset // WORD_BYTES + number
                m.d.comb += is_meant.eq(commits & (word == place))
                for byte in range(WORD_BYTES):
                    part = value[32 * number + 8 * byte : 32 * number + 8 * byte + 8]
                    if not len(part):
                        continue
                    new = write.data.word_select(byte, 8)
                    if register.access == "act":
                        m.d.sync += part.eq(Mux(is_meant & write.strb[byte], new, 0))
                    else:
                        with m.If(is_meant & write.strb[byte]):
                            m.d.sync += part.eq(new)

    def _build_read(self, m: Module) -> None:
        """Take an address, choose within all groups of words, then between the groups, answer."""
        ar, r = self.bus.ar, self.bus.r
        word = Signal(self._address_width - 2, name="read_word", reset_less=True)
        is_free = Signal(init=1)
        looks = Signal()
        chooses = Signal()
        answers = Signal()
        answer = Signal(32, reset_less=True)
        m.d.comb += [
            ar.ready.eq(is_free),
            r.valid.eq(answers),
            r.payload.data.eq(answer),
            r.payload.resp.eq(Response.OKAY),
        ]
        with m.If(is_free):
            m.d.sync += [word.eq(ar.payload.addr[2:]), is_free.eq(~ar.valid)]
        m.d.sync += [looks.eq(is_free & ar.valid), chooses.eq(looks)]
        with m.If(chooses):
            m.d.sync += answers.eq(1)
        with m.If(r.ready & answers):
            m.d.sync += [answers.eq(0), is_free.eq(1)]

        groups = self._words()
        low = word[:_GROUP_BITS]
        parts = []
        for number, words in sorted(groups.items()):
            chosen = Signal(32, name=f"chosen_{number}", reset_less=True)
            is_meant = Signal(name=f"is_in_{number}", reset_less=True)
            choice = Signal(32, name=f"choice_{number}")
            with m.Switch(low):
                for place, bits in words.items():
                    with m.Case(place):
                        m.d.comb += choice.eq(bits)
            m.d.sync += [chosen.eq(choice), is_meant.eq(word[_GROUP_BITS:] == number)]
            parts.append(chosen & is_meant.replicate(32))
        with m.If(chooses):
            m.d.sync += answer.eq(reduce(or_, parts))

        for register in self._registers:
            if register.access == "act":
                # Known in the cycle in which the status is looked at, so that what the status
                # clears after a read cannot be lost.
                is_asked = Signal(name=f"reads_{register.name}")
                matches = word == register.offset // WORD_BYTES
                m.d.comb += is_asked.eq(looks & matches)
                m.d.comb += self.reads[register.name].eq(is_asked)

    def _words(self) -> dict[int, dict[int, Value]]:
        """Return what can be read, by group and place in it."""
        groups: dict[int, dict[int, Value]] = {}
        for register in self._registers:
            bits: Any = None
            if register.constant is None:
                of = self.values if register.access == "rw" else self.status
                bits = Cat(Value.cast(of[register.name]), Const(0, register.width))
            for number in range(register.n_words):
                place = register.offset // WORD_BYTES + number
                group = groups.setdefault(place >> _GROUP_BITS, {})
                group[place & (1 << _GROUP_BITS) - 1] = word_of(register, bits, number)
        return groups
