"""What memory a kernel stands before: HBM2 of an Alveo U280, unless told otherwise."""

from dataclasses import dataclass, field
from typing import Literal

from ..stalls import FREE, Stall

__all__ = ["ORDERS", "UNITS", "Fault", "MemoryModel", "Order", "Timing"]

UNITS = 1 << 16
"""Units of time in a cycle of the kernel: all arithmetic is on integers."""

Order = Literal["in order", "bursts", "beats"]

ORDERS: tuple[Order, ...] = ("in order", "bursts", "beats")
"""How answers of different IDs may mix; those of one ID never do."""

MOST_OUTSTANDING = 256


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, as planned.

    Parameters
    ----------
    kind : str
        ``slverr`` or ``decerr``: the answer to what the other members say. ``stall``: from some
        beat on nothing moves any more.
    direction : str
        ``read``, ``write`` or ``both``.
    port : int, optional
        Number of the AXI port; by default all.
    beat : int, optional
        Which beat of the port and direction since the last reset, from 0; by default all. A port
        that stalls has moved so many.
    first, last : int
        Addresses, both included; by default all.
    """

    kind: Literal["slverr", "decerr", "stall"]
    direction: Literal["read", "write", "both"] = "both"
    port: int | None = None
    beat: int | None = None
    first: int = 0
    last: int = (1 << 64) - 2

    def __post_init__(self) -> None:
        if self.kind not in ("slverr", "decerr", "stall"):
            raise ValueError(f"A fault must be slverr, decerr or stall, not {self.kind!r}")
        if self.direction not in ("read", "write", "both"):
            raise ValueError(f"A direction must be read, write or both, not {self.direction!r}")
        if self.kind == "stall" and self.beat is None:
            raise ValueError("A fault that stalls must name the beat at which it does")


@dataclass(frozen=True)
class Timing:
    """Times of a pseudo-channel in units, :data:`UNITS` to a cycle of the kernel."""

    atom: int
    refresh_interval: int
    refresh: int
    activate: int
    precharge: int
    row_cycle: int
    turnaround: int


@dataclass(frozen=True)
class MemoryModel:
    """Pseudo-channels of HBM2 behind AXI ports that run on the kernel's clock.

    A request goes to the pseudo-channel that its address is in, whichever port it comes from. There
    the data bus serves bursts in the order in which they come, reads when they are accepted and
    writes when their last beat is; it pauses for refreshes, where it turns from reading to
    writing or back, and where a row cannot be opened in time: opening starts when a burst is
    accepted, while those before it still occupy the bus. What a real controller does beyond that
    (looking ahead, limits on activations of different banks) is left out.

    Parameters
    ----------
    clock_hz : int
        The kernel's clock. A port of 256 bits carries 9.6 GB/s at 300 MHz, less than a
        pseudo-channel; at 450 MHz the pseudo-channel is the narrower one.
    n_channels, channel_bytes : int
        32 pseudo-channels of 256 MB, one behind the other in the address space (U280: UG1393, and
        "Shuhai", arXiv 2005.04324).
    storage_bytes : int
        What there is of each: an access behind it is answered DECERR and noted. By default
        16 MB, so that a simulation takes no more memory than it uses.
    bandwidth : int
        Bytes a second of a pseudo-channel: 14.375 GB/s, 460 GB/s by all (UG1393); that is 256 bits
        at 450 MHz.
    narrow : tuple of int
        Channels that have less than the others: so the bandwidth of one tensor can be studied.
    narrow_bandwidth : int
        Bytes a second of these.
    latency : int
        Cycles of the kernel from an accepted address to its first beat, and from the last written
        beat to the answer, when nothing is in the way. An estimate: Shuhai measured 107 ns for a
        row that is open (48 cycles at 450 MHz), without the switch between channels; the crossing
        into the kernel's clock and register slices come on top.
    refresh_interval_ps, refresh_ps : int
        tREFI 3.9 us; tRFC 260 ns, JESD235 for a channel of 4 Gb, which two pseudo-channels of
        256 MB are (350 ns is for 8 Gb, and would allow 91.0 % of the peak, where Shuhai measured
        425 of 460 GB/s, 92.4 %). The pseudo-channels take turns: an estimate.
    activate_ps, precharge_ps, row_cycle_ps : int
        tRCD and tRP 16 ns, tRC 49 ns, as models of HBM2 have them from JESD235. Shuhai measured
        15.6 ns more for a closed row than for an open one, and 31.1 ns for another row in the same
        bank. There are 16 banks with rows of 1 KB, addressed as the U280 does by default (Shuhai:
        "RGBCG").
    turnaround_ps : int
        Pause of the data bus between reads and writes: an estimate.
    outstanding : int
        Bursts that a port accepts, read and written each: an estimate.
    write_buffer : int
        Bursts of a port whose data have arrived and wait for the data bus; with so many, no more
        data are taken: an estimate.
    order : str
        ``in order`` of acceptance; ``bursts`` of different IDs overtake each other; ``beats``: read
        data of different IDs mix within bursts too.
    refusals, gaps : Stall
        When the memory is not ready (AR, AW, W), and when it has nothing to offer (R, B).
    delays : Stall
        Share of bursts that take longer (its ``burst`` says nothing here), by up to ``delay_most``
        cycles.
    faults : tuple of Fault
        What goes wrong.
    seed : int
        Of orders and delays.
    """

    clock_hz: int = 300_000_000
    n_channels: int = 32
    channel_bytes: int = 1 << 28
    storage_bytes: int = 1 << 24
    bandwidth: int = 14_375_000_000
    narrow: tuple[int, ...] = ()
    narrow_bandwidth: int = 14_375_000_000
    latency: int = 100
    refresh_interval_ps: int = 3_900_000
    refresh_ps: int = 260_000
    activate_ps: int = 16_000
    precharge_ps: int = 16_000
    row_cycle_ps: int = 49_000
    turnaround_ps: int = 15_000
    outstanding: int = 32
    write_buffer: int = 4
    order: Order = "in order"
    refusals: Stall = FREE
    gaps: Stall = FREE
    delays: Stall = FREE
    delay_most: int = 64
    faults: tuple[Fault, ...] = field(default=())
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "clock_hz",
            "n_channels",
            "bandwidth",
            "narrow_bandwidth",
            "latency",
            "outstanding",
            "write_buffer",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a positive integer, not {getattr(self, name)!r}")
        if self.outstanding > MOST_OUTSTANDING:
            raise ValueError(
                f"outstanding must be at most {MOST_OUTSTANDING}, not {self.outstanding}"
            )
        if self.channel_bytes < 4096 or self.channel_bytes & self.channel_bytes - 1:
            raise ValueError(
                f"channel_bytes must be a power of two from 4096, not {self.channel_bytes}"
            )
        if self.storage_bytes % 4096 or not 0 < self.storage_bytes <= self.channel_bytes:
            raise ValueError(
                f"storage_bytes must be a multiple of 4096 up to {self.channel_bytes}, "
                f"not {self.storage_bytes}"
            )
        if self.refresh_ps >= self.refresh_interval_ps:
            raise ValueError(
                f"refresh_ps must be less than {self.refresh_interval_ps}, not {self.refresh_ps}"
            )
        if not set(self.narrow) <= set(range(self.n_channels)):
            raise ValueError(
                f"narrow must be channels, 0 to {self.n_channels - 1}, not {self.narrow!r}"
            )
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {self.order!r}")

    @property
    def channel_bits(self) -> int:
        """Bits of an address within a pseudo-channel."""
        return self.channel_bytes.bit_length() - 1

    @property
    def timing(self) -> Timing:
        """Times as the models count them."""

        def units(ps: int) -> int:
            return ps * self.clock_hz * UNITS // 10**12

        return Timing(
            atom=self.atom_of(self.bandwidth),
            refresh_interval=units(self.refresh_interval_ps),
            refresh=units(self.refresh_ps),
            activate=units(self.activate_ps),
            precharge=units(self.precharge_ps),
            row_cycle=units(self.row_cycle_ps),
            turnaround=units(self.turnaround_ps),
        )

    def atom_of(self, bandwidth: int) -> int:
        """Return the units that 32 bytes take."""
        return 32 * self.clock_hz * UNITS // bandwidth

    def key(self, what: str) -> int:
        """Return the 64 bits from which the choices of one kind follow."""
        return Stall(seed=self.seed).key(what)
