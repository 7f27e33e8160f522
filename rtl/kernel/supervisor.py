"""One call after the other: what becomes of each, and how a stuck one ends."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..control.handshake import FINISHED
from ..stream import Queue, connect_stream
from .code import Code

__all__ = ["Supervisor"]

_CALLS = 8
"""Codes that wait for the host."""


class Supervisor(Component):
    """Say how each call ended, stop an engine that gets no answer, and reset one on demand.

    A soft reset halts the engine, waits until nothing is on its way from or to memory, and then
    clears it: so memory is left in the middle of nothing. Only a channel that never answers can
    keep it from ending; then the reset of the whole system is left.

    Parameters
    ----------
    timeout : int
        Cycles of a call without anything moving after which it has failed.

    Members
    -------
    refused : In(stream)
        Code of a call that was not begun.
    runs : In(1)
        A call is in the engine.
    ends : In(1)
        It is done in this cycle.
    moves : In(1)
        Something moved from or to memory.
    failed : In(2)
        OR of all responses that were no OKAY.
    changed : In(1)
        What the call has read twice was not the same.
    idle : In(1)
        Nothing is on its way from or to memory.
    finished : Out(stream)
        One code for each call.
    drops : Out(1)
        The engine is stuck: whatever call there is, it ends here, in this cycle.
    discards : Out(1)
        The host has asked for a reset: calls that wait are not begun.
    halt : Out(1)
        The engine is to ask memory for nothing more.
    reset : In(1)
        The host wants everything as new.
    clears : Out(1)
        Reset of the engine.
    is_reset : Out(1)
        Everything is as new.
    code : Out(8)
        Of the call that ended last.

    Raises
    ------
    TypeError, ValueError
        When ``timeout`` is not a positive integer.
    """

    def __init__(self, *, timeout: int) -> None:
        self._timeout = check_count("Timeout", timeout, most=1 << 30)
        code = data.StructLayout({"code": 8})
        super().__init__(
            {
                "refused": In(stream.Signature(code)),
                "runs": In(1),
                "ends": In(1),
                "moves": In(1),
                "failed": In(2),
                "changed": In(1),
                "idle": In(1),
                "finished": Out(stream.Signature(FINISHED)),
                "drops": Out(1),
                "discards": Out(1),
                "halt": Out(1),
                "reset": In(1),
                "clears": Out(1),
                "is_reset": Out(1),
                "code": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Watch, and go through the states of a reset."""
        m = Module()
        m.submodules.codes = codes = Queue(shape=FINISHED, depth=_CALLS)
        connect_stream(m, codes.o, wiring.flipped(self.finished))

        # Nothing has moved for as long as it takes this to count down.
        patience = Signal(range(self._timeout + 1), init=self._timeout)
        is_out = Signal()
        stuck = Signal()
        m.d.sync += is_out.eq(patience == 1)
        with m.If(self.moves | ~self.runs):
            m.d.sync += patience.eq(self._timeout)
        with m.Elif(patience != 0):
            m.d.sync += patience.eq(patience - 1)
        with m.If(is_out & self.runs & ~self.moves & ~self.ends):
            m.d.sync += [stuck.eq(1), self.halt.eq(1)]

        resetting = Signal()
        # A register; no refused call comes between, so that the room stays.
        is_doomed = Signal()
        has_ended = Signal()
        is_turn = Signal()  # of calls that were refused: no other one ends
        end_code = Signal.like(codes.i.payload.code)
        error = Mux(self.failed == 2, Code.SLVERR, Code.DECERR)
        m.d.sync += [
            has_ended.eq(self.ends),
            end_code.eq(Mux(self.failed == 0, Mux(self.changed, Code.CHANGED, Code.OK), error)),
        ]
        m.d.sync += self.drops.eq(is_doomed & codes.i.ready & ~resetting & ~self.drops & ~self.ends)
        m.d.comb += [
            is_doomed.eq(stuck & self.runs),
            self.discards.eq(resetting),
            codes.i.valid.eq(has_ended | self.drops | (self.refused.valid & is_turn)),
            is_turn.eq(~self.ends & ~has_ended & ~is_doomed),
            self.refused.ready.eq(codes.i.ready & is_turn),
        ]
        code = codes.i.payload.code
        with m.If(self.drops):
            m.d.comb += code.eq(Code.TIMEOUT)
        with m.Elif(has_ended):
            m.d.comb += code.eq(end_code)
        with m.Else():
            m.d.comb += code.eq(self.refused.payload.code)
        with m.If(codes.i.valid & codes.i.ready):
            m.d.sync += self.code.eq(code)

        with m.FSM():
            with m.State("works"), m.If(self.reset):
                m.d.sync += [resetting.eq(1), self.halt.eq(1)]
                m.next = "halts"
            with m.State("halts"):
                m.next = "drains"  # the engine has seen the halt when it says that it is idle
            with m.State("drains"), m.If(self.idle):
                m.d.sync += self.clears.eq(1)
                m.next = "clears"
            with m.State("clears"):
                m.d.sync += stuck.eq(0)
                m.next = "is new"
            with m.State("is new"):
                m.d.comb += self.is_reset.eq(1)
                m.d.sync += self.clears.eq(0)
                with m.If(~self.reset):
                    m.d.sync += [resetting.eq(0), self.halt.eq(0)]
                    m.next = "works"
        return m
