"""The block protocol ``ap_ctrl_chain``: a host starts calls, and hears when each is done."""

from typing import Any

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..stream import Queue
from ..stream.level import count_level
from .register import Field, Register, status_layout, values_layout

__all__ = ["BLOCK_REGISTERS", "FINISHED", "Handshake"]

_DONE = Field("done", 1, "A call is done")
_READY = Field("ready", 1, "Arguments were captured")

BLOCK_REGISTERS = (
    Register(
        "control",
        0x00,
        "act",
        "Starts calls and says how they stand",
        fields=(
            Field("ap_start", 1, "Write 1 to start a call; 1 until its arguments are captured"),
            Field("ap_done", 1, "The oldest call is done; stays until ap_continue is written"),
            Field("ap_idle", 1, "No call is waiting or running"),
            Field("ap_ready", 1, "Arguments were captured since this register was last read"),
            Field("ap_continue", 1, "Write 1 to take note of ap_done; reads as 0"),
        ),
    ),
    Register(
        "global_interrupt_enable",
        0x04,
        "rw",
        "Whether there are interrupts at all",
        fields=(Field("enable", 1, "1: interrupts reach the host"),),
    ),
    Register("interrupt_enable", 0x08, "rw", "What interrupts", fields=(_DONE, _READY)),
    Register(
        "interrupt_status",
        0x0C,
        "act",
        "What has interrupted; a bit written 1 is toggled",
        fields=(_DONE, _READY),
    ),
)
"""The registers of the protocol, where UG1393 (Control Requirements for XRT-Managed Kernels) and
UG1399 (S_AXILITE Control Register Map) have them; all others begin at 0x10."""

FINISHED = data.StructLayout({"code": 8})
"""What is said of a finished call: 0, or the code of what went wrong."""

_PART = 1024
"""Bits of arguments in a queue of their own."""


class Handshake(Component):
    """Calls of a block, started and acknowledged through registers: Vitis' ``ap_ctrl_chain``.

    ============================================  ==================================================
    Rule                                          Where it is from
    ============================================  ==================================================
    ``ap_start`` stays 1 until the block has      UG1399, Block-Level Control Protocols: cleared on
    captured the arguments (``ap_ready``); a 0    handshake. XRT (``cu_hls.c``) takes a 0 read there
    written there changes nothing                 for "ready for the next call"
    Arguments of the next call may be written     UG1393, Execution Modes: pipelined execution
    and started while calls run
    ``ap_done`` stays 1 until ``ap_continue`` is  UG1399, Block-Level Control Protocols. Reading
    written; the next call's done waits for that  does not clear it, other than in ``ap_ctrl_hs``
    ``ap_continue`` clears itself                 UG1399, S_AXILITE Control Register Map
    ``ap_ready`` is cleared by reading it         UG1399, the map in headers since 2022: Read/COR
    ``ap_idle`` may be 1 beside ``ap_done``       XRT: done alone or with idle
    Interrupt status is set as long as its event  UG1399: toggle on write; XRT: ``ap_continue``
    is there and enabled, whatever is written;    comes before clearing, "otherwise the clear would
    a 1 written toggles it                        fail"
    ============================================  ==================================================

    At most ``calls`` calls wait or run: one more start waits in ``ap_start``. A call leaves at
    ``call`` two cycles after the start, at the earliest.

    A request for a soft reset holds ``reset`` at 1 until the block has no call left and says so by
    ``is_reset``. Until then it takes the waiting calls and drops them, and what it says at
    ``finished`` is dropped. Then all calls are forgotten, and so are done, ready and interrupts;
    registers keep their values.

    Parameters
    ----------
    arguments : tuple of Register
        What a call is told; access ``rw``.
    calls : int
        Calls that may wait or run.

    Members
    -------
    orders : In(struct)
        What the host wrote into :data:`BLOCK_REGISTERS`, and ``reads_control``, ``resets``: it
        reads the control register; it wants a soft reset.
    state : Out(struct)
        What it reads there.
    arguments : In(struct)
        What it wrote into the arguments, captured at once and whole.
    call : Out(stream)
        The arguments of one call after the other.
    finished : In(stream)
        :data:`FINISHED`, one for each call, in their order.
    code : Out(8)
        What was said of the call that ``ap_done`` is of.
    interrupt : Out(1)
        To the host; stays 1 while an enabled event is in the interrupt status.
    reset : Out(1)
        The block is to become as new.
    is_reset : In(1)
        It is: no call, no bus transaction is left inside. Looked at while ``reset`` is 1.

    Raises
    ------
    TypeError, ValueError
        When ``calls`` is not a positive integer, or an argument is not written by the host.
    """

    def __init__(self, *, arguments: tuple[Register, ...], calls: int = 4) -> None:
        self._calls = check_count("Calls", calls, most=256)
        if not arguments:
            raise ValueError("Arguments must be at least one")
        for register in arguments:
            if register.access != "rw":
                raise ValueError(
                    f"Arguments must have access rw, and {register.name} has {register.access}"
                )
        self._arguments = values_layout(arguments)
        orders = {**values_layout(BLOCK_REGISTERS).members, "reads_control": 1, "resets": 1}
        super().__init__(
            {
                "orders": In(data.StructLayout(orders)),
                "state": Out(status_layout(BLOCK_REGISTERS)),
                "arguments": In(self._arguments),
                "call": Out(stream.Signature(self._arguments)),
                "finished": In(stream.Signature(FINISHED)),
                "code": Out(8),
                "interrupt": Out(1),
                "reset": Out(1),
                "is_reset": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Hold the few bits of the protocol, and a queue of arguments."""
        m = Module()
        orders, state, finished = self.orders, self.state, self.finished
        start = Signal()
        ready = Signal()
        done = Signal()
        resets = Signal()
        captures = Signal()
        finishes = Signal()
        is_new = Signal()

        valid = self._build_queue(m, captures)
        inside = count_level(
            m, Signal(range(self._calls + 1), name="n"), most=self._calls, comes=captures,
            goes=finishes,
        )  # fmt: skip
        m.d.comb += [
            captures.eq(start & inside.has_room & ~resets),
            finished.ready.eq(~done | resets),
            finishes.eq(finished.valid & ~done & ~resets),
            is_new.eq(resets & self.is_reset & ~valid),
            self.reset.eq(resets),
        ]
        with m.If(captures | resets):
            m.d.sync += start.eq(0)
        with m.If(orders.control.ap_start & ~resets):
            m.d.sync += start.eq(1)
        with m.If(orders.reads_control):
            m.d.sync += ready.eq(0)
        with m.If(captures):
            m.d.sync += ready.eq(1)
        with m.If(orders.control.ap_continue):
            m.d.sync += done.eq(0)
        with m.If(finishes):
            m.d.sync += [done.eq(1), self.code.eq(finished.payload.code)]
        with m.If(orders.resets):
            m.d.sync += [resets.eq(1), start.eq(0)]
        with m.If(is_new):
            m.d.sync += [resets.eq(0), ready.eq(0), done.eq(0), self.code.eq(0)]
            m.d.sync += [inside.n.eq(0), inside.has_some.eq(0), inside.has_room.eq(1)]

        enable, toggle = orders.interrupt_enable, orders.interrupt_status
        status = Signal(2)
        m.d.sync += [
            status[0].eq(((status[0] ^ toggle.done) | (enable.done & done)) & ~is_new),
            status[1].eq(((status[1] ^ toggle.ready) | (enable.ready & captures)) & ~is_new),
            self.interrupt.eq(orders.global_interrupt_enable.enable & status.any()),
        ]
        m.d.comb += [
            state.control.ap_start.eq(start),
            state.control.ap_done.eq(done),
            state.control.ap_idle.eq(~start & ~inside.has_some & ~resets),
            state.control.ap_ready.eq(ready),
            state.interrupt_status.eq(status),
        ]
        return m

    def _build_queue(self, m: Module, captures: Signal) -> Signal:
        """Queue the arguments in several queues that move as one; return whether there are any.

        One queue would have as many pins at its write enable as arguments have bits. There is room
        for all calls that there may be: so nobody asks whether there is.
        """
        bits, call = Value.cast(self.arguments), self.call
        for number, low in enumerate(range(0, len(bits), _PART)):
            part = bits[low : low + _PART]
            queue = Queue(shape=unsigned(len(part)), depth=self._calls)
            m.submodules[f"waiting_{number}"] = queue
            m.d.comb += [
                queue.i.valid.eq(captures),
                queue.i.payload.eq(part),
                queue.o.ready.eq(call.ready),
                Value.cast(call.payload)[low : low + _PART].eq(queue.o.payload),
            ]
            if not number:
                m.d.comb += call.valid.eq(queue.o.valid)
        return call.valid
