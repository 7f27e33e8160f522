"""The kernel: what a host and memory see of a chip."""

from typing import Any

from amaranth.hdl import ClockDomain, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from ..axi import AXI4, AXI4Lite, bus_pins, connect_bus_pins
from ..component import Component
from ..control.control import Control, all_registers
from ..control.kernel_map import TENSOR_NAMES, kernel_registers
from ..control.register import Register
from ..formats import ceil_log2
from ..sequencer.sequencer import OUTPUT_WIDTH
from ..stream import RegisterSlice, connect_stream
from .engine import TENSORS, Engine
from .intake import Intake
from .overlap import OverlapCheck
from .supervisor import Supervisor
from .tally import Tally

__all__ = ["CONTROL_PINS", "Kernel", "channel_pins"]

CONTROL_PINS = "s_axi_control"
"""What the names of the host's pins begin with, as Vitis expects it."""

_ROOM = "in which a lane had room for {}, and memory, asked for them, had brought none"
STALLS = (
    *((name, _ROOM.format(TENSOR_NAMES[name])) for name in TENSORS if name != "o"),
    ("o", "in which outputs waited for memory"),
)
"""What the counters of stalls count, by the names of tensors."""

_ADDRESS_WIDTH = 12
"""Bits of an address of a register."""


def channel_pins(number: int) -> str:
    """Return what the names of a memory channel's pins begin with."""
    return f"m{number:02}_axi"


class Kernel(Component):
    """An engine behind registers and AXI4, with the pins that Vitis expects.

    ::

        s_axi_control <--> control --> intake, overlap --> engine <--> m00_axi, m01_axi, ...
                              ^                     |
                              +---- supervisor -----+

    Parameters
    ----------
    timeout : int
        Cycles of a call without anything moving on a bus after which it has failed. Other
        parameters are those of :class:`~qkloom.rtl.kernel.engine.Engine`.

    Members
    -------
    ap_clk, ap_rst_n : In(1)
        Clock, and synchronous reset, active low.
    s_axi_control_... : pins
        AXI4-Lite subordinate: the registers.
    m00_axi_... : pins
        An AXI4 manager for each memory channel.
    interrupt : Out(1)
        To the host.
    registers, arguments : tuple of Register
        All registers, and those of a call.
    channels : mapping
        Memory channels of each tensor.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    def __init__(
        self,
        *,
        lanes: tuple[str, ...],
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        row_width: int,
        out_width: int,
        slots: int = 2,
        stream_width: int = 8,
        stationary_width: int = 8,
        heads: int,
        channels: tuple[tuple[str, tuple[int, ...]], ...],
        data_width: int,
        address_width: int = 64,
        gemm: bool = False,
        sparse: bool = False,
        index_tokens: int = 0,
        key_heads: int = 1,
        heads_ahead: int = 0,
        index_memory: str = "auto",
        kv_blocks: int = 0,
        cache: tuple[tuple[str, int | str], ...] = (),
        crossings: bool = False,
        timeout: int = 1 << 20,
    ) -> None:
        self._engine = {k: v for k, v in self.parameters.items() if k != "timeout"}
        self._channels = dict(channels)
        self._n_lanes = len(lanes)
        self._timeout, self._data_width = timeout, data_width
        counts = {name: len(numbers) for name, numbers in channels}
        registers = kernel_registers(
            **{f"{name}_channels": n for name, n in counts.items()},
            stalls=STALLS,
            gemm=gemm,
            sparse=sparse,
            index=index_tokens > 0,
            cache=bool(cache),
        )
        self._has_cache = bool(cache)
        self._control: dict[str, Any] = dict(
            arguments=registers.arguments,
            status=registers.status,
            address_width=_ADDRESS_WIDTH,
        )
        self._intake: dict[str, Any] = dict(
            arguments=registers.arguments,
            channels=tuple(counts.items()),
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            stream_width=stream_width,
            data_width=data_width,
            address_width=address_width,
            product_dim=min(head_dim, block_rows) if gemm else 0,
            sparse=sparse,
            index_tokens=index_tokens,
            block=block_rows,
        )
        self._overlap: dict[str, Any] = dict(
            channels=tuple(counts.items()),
            heads=heads,
            tokens=tokens,
            head_dim=head_dim,
            size=size,
            block=block_rows,
            stream_width=stream_width,
            stationary_width=stationary_width,
            address_width=address_width,
            gemm=gemm,
            sparse=sparse,
            index_tokens=index_tokens,
            data_width=data_width,
        )
        self._moved = {**counts, "o": data_width // OUTPUT_WIDTH * counts["o"]}
        self._n_channels = 1 + max(n for numbers in self._channels.values() for n in numbers)
        # As many managers as can meet on a channel, and the tables.
        self._bus = AXI4(address_width=address_width, data_width=data_width, id_width=3)
        members = {"ap_clk": In(1), "ap_rst_n": In(1), "interrupt": Out(1)}
        members |= bus_pins(CONTROL_PINS, AXI4Lite(address_width=_ADDRESS_WIDTH).flip())
        for number in range(self._n_channels):
            members |= bus_pins(channel_pins(number), self._bus)
        super().__init__(members)
        self._registers = all_registers(*registers)
        self._arguments = registers.arguments

    @property
    def registers(self) -> tuple[Register, ...]:
        """All registers by address."""
        return self._registers

    @property
    def arguments(self) -> tuple[Register, ...]:
        """Registers that say what a call is."""
        return self._arguments

    @property
    def n_channels(self) -> int:
        """Number of memory channels."""
        return self._n_channels

    @property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """Memory channels of each tensor."""
        return dict(self._channels)

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; the engine has a reset of its own."""
        m = Module()
        m.domains.sync = sync = ClockDomain(local=True)
        m.domains.work = work = ClockDomain(local=True)
        m.domains.start = start = ClockDomain(local=True, reset_less=True)
        m.submodules.control = control = Control(**self._control)
        m.submodules.supervisor = supervisor = Supervisor(timeout=self._timeout)
        in_work = DomainRenamer("work")
        intake, engine = Intake(**self._intake), Engine(**self._engine)
        overlap = OverlapCheck(**self._overlap)
        m.submodules.intake = in_work(intake)
        m.submodules.overlap = in_work(overlap)
        m.submodules.engine = in_work(engine)
        m.d.comb += [
            sync.clk.eq(self.ap_clk),
            work.clk.eq(self.ap_clk),
            start.clk.eq(self.ap_clk),
            self.interrupt.eq(control.interrupt),
        ]
        # Thousands of pins: resets come from registers, which tools can double. So they begin and
        # end a cycle late, and until then the buses stand still.
        is_open = Signal()
        m.d.start += [
            sync.rst.eq(~self.ap_rst_n),
            work.rst.eq(supervisor.clears | ~self.ap_rst_n),
            is_open.eq(self.ap_rst_n),
        ]
        connect_bus_pins(m, self, CONTROL_PINS, control.bus, is_open=is_open)

        # Calls that wait while the host wants a reset pass an intake that does not see them, once
        # it is cleared and ready.
        m.d.comb += [
            intake.i.payload.eq(control.call.payload),
            intake.i.valid.eq(control.call.valid & ~supervisor.discards),
            control.call.ready.eq(intake.i.ready),
        ]
        # A call is refused by the one or by the other, behind a register: what the supervisor waits
        # for is not what the next call waits for.
        refusal = RegisterSlice(shape=supervisor.refused.payload.shape(), mode="half")
        m.submodules.refusal = in_work(refusal)
        late = overlap.refused.valid
        m.d.comb += [
            refusal.i.valid.eq(intake.refused.valid | late),
            refusal.i.payload.eq(Mux(late, overlap.refused.payload, intake.refused.payload)),
            intake.refused.ready.eq(refusal.i.ready),
            overlap.refused.ready.eq(refusal.i.ready),
        ]
        connect_stream(m, refusal.o, supervisor.refused)
        connect_stream(m, intake.o, overlap.i)
        connect_stream(m, supervisor.finished, control.finished)
        moves = Signal()
        ends = Signal()
        works = Signal()
        m.d.work += works.eq(overlap.o.valid & ~supervisor.halt & ~ends)
        m.d.comb += [
            engine.i.payload.eq(overlap.o.payload),
            engine.i.valid.eq(works),
            ends.eq(engine.i.valid & engine.i.ready),
            overlap.o.ready.eq(ends | supervisor.drops),
            supervisor.runs.eq(overlap.o.valid),
            supervisor.ends.eq(ends),
            supervisor.moves.eq(moves),
            supervisor.failed.eq(engine.failed),
            supervisor.changed.eq(engine.changed if self._has_cache else 0),
            supervisor.idle.eq(engine.idle),
            supervisor.reset.eq(control.reset),
            engine.halt.eq(supervisor.halt),
            control.is_reset.eq(supervisor.is_reset),
        ]
        moved = Signal.like(engine.moved)
        m.d.sync += [moved.eq(engine.moved), moves.eq(Value.cast(moved).any() | engine.moves)]
        self._count(m, control, engine, overlap.o.valid, ends)
        for number in range(self._n_channels):
            self._connect_channel(m, engine, number, is_open)
        return m

    def _count(
        self, m: Module, control: Control, engine: Engine, runs: Signal, ends: Signal
    ) -> None:
        """Count what the host can read."""
        status = control.status
        done = Signal(32)
        ended = Signal()
        m.d.sync += [ended.eq(ends), done.eq(done + ended)]
        m.d.comb += [status.calls_done.eq(done), status.error.code.eq(control.code)]
        steps: dict[str, tuple[Any, int, int]] = {"cycles": (1, 1, 1), "busy_cycles": (runs, 1, 1)}
        for name in TENSORS:
            unit = OUTPUT_WIDTH if name == "o" else self._data_width
            steps[f"{name}_bytes"] = engine.moved[name], self._moved[name], unit // 8
            steps[f"stall_{name}"] = engine.starved[name] & runs, 1, 1
        if self._has_cache:
            events = engine.events
            for name, of in (("hits", "hit"), ("fills", "fill"), ("evictions", "evict")):
                for number, tier in enumerate(("cold", "hot")):
                    steps[f"cache_{name}_{tier}"] = events[of][number], 1, 1
            steps["cache_bypasses"] = events.bypass, 1, 1
        for name, (step, most, unit) in steps.items():
            m.submodules[f"tally_{name}"] = tally = Tally(most=most)
            m.d.comb += [tally.step.eq(step), status[name].eq(tally.total << ceil_log2(unit))]

    def _connect_channel(self, m: Module, engine: Engine, number: int, is_open: Signal) -> None:
        """Connect what reads and what writes a channel to its pins."""
        bus = self._bus.create(path=("channel", str(number)))
        connect_bus_pins(m, self, channel_pins(number), bus, is_open=is_open)
        for half, names in (("read", ("ar", "r")), ("write", ("aw", "w", "b"))):
            side = getattr(engine, f"{half}_{number}", None)
            if side is None:
                m.d.comb += [getattr(bus, name).ready.eq(1) for name in names if name in "rb"]
                continue
            for name in names:
                inner, outer = getattr(side, name), getattr(bus, name)
                src, dst = (outer, inner) if name in "rb" else (inner, outer)
                m.d.comb += [dst.valid.eq(src.valid), src.ready.eq(dst.ready)]
                m.d.comb += [
                    Value.cast(dst.payload[field]).eq(Value.cast(src.payload[field]))
                    for field in src.payload.shape().members
                ]
