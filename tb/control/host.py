"""A host that reads and writes registers through AXI4-Lite, in the Amaranth simulator."""

import random
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Value

from ...rtl.control import Register

__all__ = ["Host"]


class Host:
    """The manager of an AXI4-Lite port of 32 bits, one transfer after the other.

    Parameters
    ----------
    bus : AXI4Lite interface
        The subordinate's port.
    registers : iterable of Register
        What can be named; addresses can always be used.
    pace : float
        Probability that a channel that could go on in a cycle does.
    seed : int
        Seed of the stalls.
    """

    def __init__(
        self, bus: Any, registers: Iterable[Register] = (), *, pace: float = 1, seed: int = 0
    ) -> None:
        self._bus = bus
        self._registers = {register.name: register for register in registers}
        self._pace = pace
        self._rng = random.Random(f"{seed} host")

    async def write(self, ctx: Any, where: str | int, value: int, *, strobes: int = 0xF) -> int:
        """Write a register, or a word at an address; return the cycles until it was answered."""
        cycles = 0
        for address, word in self._words(where, value):
            cycles += await self._write(ctx, address, word, strobes)
        return cycles

    async def read(self, ctx: Any, where: str | int) -> int:
        """Read a register, or a word at an address."""
        value = 0
        for number, (address, _) in enumerate(self._words(where, 0)):
            value |= (await self.read_word(ctx, address))[0] << 32 * number
        return value

    async def read_word(self, ctx: Any, address: int) -> tuple[int, int]:
        """Return a word, and the cycles from the transfer of its address until it was offered."""
        ar, r = self._bus.ar, self._bus.r
        sent = offered = None
        held: int | None = None
        for cycle in range(10_000):
            if sent is None and not ctx.get(ar.valid) and self._goes_on():
                ctx.set(ar.valid, 1)
                ctx.set(ar.payload.addr, address)
            ctx.set(r.ready, self._goes_on())
            _, _, takes, valid, ready, data, resp = await ctx.tick().sample(
                ar.ready, r.valid, r.ready, Value.cast(r.payload.data), Value.cast(r.payload.resp)
            )
            if sent is None and ctx.get(ar.valid) and takes:
                sent = cycle
                ctx.set(ar.valid, 0)
                ctx.set(ar.payload.addr, ~address)
                assert not valid, "an answer before the question"
                continue
            assert held is None or (valid and data == held), "a read answer was withdrawn"
            if not valid:
                continue
            assert sent is not None
            assert not resp  # OKAY
            offered = cycle if offered is None else offered
            if ready:
                ctx.set(r.ready, 0)
                return data, offered - sent
            held = data
        raise AssertionError(f"No answer to the read at {address:#x}")

    async def _write(self, ctx: Any, address: int, word: int, strobes: int) -> int:
        aw, w, b = self._bus.aw, self._bus.w, self._bus.b
        open_channels = {"aw": aw, "w": w}
        is_held = False
        for cycle in range(10_000):
            for channel in open_channels.values():
                if not ctx.get(channel.valid) and self._goes_on():
                    ctx.set(channel.valid, 1)
                    ctx.set(aw.payload.addr, address)
                    ctx.set(w.payload.data, word)
                    ctx.set(w.payload.strb, strobes)
            ctx.set(b.ready, self._goes_on())
            _, _, *takes, valid, ready, resp = await ctx.tick().sample(
                aw.ready, w.ready, b.valid, b.ready, Value.cast(b.payload.resp)
            )
            assert not (valid and open_channels), "an answer before the write was whole"
            for name, taken in zip(("aw", "w"), takes, strict=True):
                if name in open_channels and ctx.get(open_channels[name].valid) and taken:
                    ctx.set(open_channels.pop(name).valid, 0)
            assert valid or not is_held, "a write answer was withdrawn"
            is_held = bool(valid)
            if valid and ready:
                assert not resp  # OKAY
                ctx.set(b.ready, 0)
                return cycle
        raise AssertionError(f"No answer to the write at {address:#x}")

    def _words(self, where: str | int, value: int) -> list[tuple[int, int]]:
        if isinstance(where, int):
            return [(where, value)]
        register = self._registers[where]
        value &= (1 << register.width) - 1
        return [
            (register.offset + 4 * number, value >> 32 * number & 0xFFFF_FFFF)
            for number in range(register.n_words)
        ]

    def _goes_on(self) -> bool:
        return self._rng.random() < self._pace
