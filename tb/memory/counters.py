"""What memory has done, and where its cycles went."""

from dataclasses import dataclass

__all__ = ["ChannelCounters", "PortCounters"]


@dataclass(frozen=True)
class PortCounters:
    """What happened at one AXI port since the last reset.

    Members
    -------
    read_bursts, write_bursts : int
        Requests accepted.
    read_beats, write_beats : int
        Beats moved.
    read_bytes, write_bytes : int
        What they carried: bytes asked for, and bytes with a strobe.
    reads_left, writes_left : int
        Requests that are on their way now, accepted and not answered to their end.
    read_pending, write_pending : int
        Cycles with such a request.
    ar_blocked, aw_blocked, w_blocked : int
        Cycles in which the memory did not take what the kernel offered.
    r_blocked, b_blocked : int
        Cycles in which the kernel did not take what the memory offered.
    r_starved : int
        Cycles in which a read was pending, and the memory had nothing to offer.
    w_starved : int
        Cycles in which a write was accepted, and the kernel had no data to offer.
    """

    read_bursts: int = 0
    read_beats: int = 0
    read_bytes: int = 0
    write_bursts: int = 0
    write_beats: int = 0
    write_bytes: int = 0
    reads_left: int = 0
    writes_left: int = 0
    read_pending: int = 0
    write_pending: int = 0
    ar_blocked: int = 0
    aw_blocked: int = 0
    w_blocked: int = 0
    r_blocked: int = 0
    b_blocked: int = 0
    r_starved: int = 0
    w_starved: int = 0


@dataclass(frozen=True)
class ChannelCounters:
    """What happened in one pseudo-channel since the last reset.

    Members
    -------
    reads, writes : int
        Atoms of 32 bytes.
    hits, opened, conflicts : int
        Of these, how many met their row open, no row open, or another row open.
    refreshes : int
        How often the bus paused for one, up to the last access.
    busy : int
        Time that the data bus carried data, in units (:data:`~.parameters.UNITS` to a cycle).
    """

    reads: int = 0
    writes: int = 0
    hits: int = 0
    opened: int = 0
    conflicts: int = 0
    refreshes: int = 0
    busy: int = 0
