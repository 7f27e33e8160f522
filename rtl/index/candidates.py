"""What a selector chooses from, kept to be played as often as it asks."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.job import index

__all__ = ["CandidateStore"]


class CandidateStore(Component):
    """Store codes in order; play them several times, forwards or backwards.

    The first one that is played is ``always`` taken. One a cycle, either way.

    Parameters
    ----------
    candidates : int
        Most codes.
    code_width : int
        Bits of a code.
    passes : int
        How often they are played.
    backwards : bool
        Whether the last one that came is played first.

    Members
    -------
    i : In(stream)
        ``code``, ``last``. Taken while nothing is played, from the first on.
    play : In(stream)
        Play what is stored; taken with the last beat. May be asked for again.
    o : Out(stream)
        ``code``, ``always``, ``last`` of a pass.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer.
    """

    def __init__(
        self, *, candidates: int, code_width: int, passes: int, backwards: bool = False
    ) -> None:
        check_count("Number of candidates", candidates)
        check_count("Code width", code_width)
        check_count("Passes", passes)
        self._candidates, self._passes, self._backwards = candidates, passes, backwards
        code = data.StructLayout({"code": code_width, "last": 1})
        item = data.StructLayout({"code": code_width, "always": 1, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(code, always_ready=True)),
                "play": In(stream.Signature(data.StructLayout({}))),
                "o": Out(stream.Signature(item)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read ahead by one: the memory holds its word while nobody takes it."""
        m = Module()
        code = self.i.payload.code
        m.submodules.store = store = Memory(
            shape=code.shape(), depth=max(self._candidates, 2), init=[]
        )
        w, r = store.write_port(), store.read_port()
        written = Signal(index(self._candidates))
        end = Signal(index(self._candidates), reset_less=True)
        m.d.comb += [w.en.eq(self.i.valid), w.addr.eq(written), w.data.eq(code)]
        with m.If(self.i.valid):
            m.d.sync += written.eq(Mux(self.i.payload.last, 0, written + 1))
            with m.If(self.i.payload.last):
                m.d.sync += end.eq(written)

        first, last = (end, 0) if self._backwards else (0, end)
        number = Signal(index(self._candidates))
        begins = Signal(init=1)  # a pass
        is_last = Signal()
        at = Signal.like(number)
        moves = Signal()
        asked = Signal(range(self._passes + 1))
        is_done = Signal()  # every code has been read
        m.d.comb += [
            at.eq(Mux(begins, first, number)),
            is_last.eq(at == last),
            is_done.eq(asked == self._passes),
            moves.eq(self.play.valid & ~is_done & (~self.o.valid | self.o.ready)),
            r.en.eq(moves),
            r.addr.eq(at),
            self.o.payload.code.eq(r.data),
            self.play.ready.eq(is_done & self.o.valid & self.o.ready),
        ]
        with m.If(moves):
            m.d.sync += [
                number.eq(at - 1 if self._backwards else at + 1),
                begins.eq(is_last),
                asked.eq(asked + is_last),
                self.o.payload.always.eq(begins),
                self.o.payload.last.eq(is_last),
            ]
        with m.If(self.play.ready):
            m.d.sync += asked.eq(0)
        with m.If(moves | self.o.ready):
            m.d.sync += self.o.valid.eq(moves)
        return m
