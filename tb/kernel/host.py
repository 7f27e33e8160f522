"""What a host does: write the registers of a call, start it, wait, and look what became of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...rtl.control.register import Register
from ...rtl.kernel.code import Code
from ..errors import CallError
from .simulation import KernelSimulation

__all__ = ["Host", "Outcome"]

_CHUNK = 1 << 20
_CONTROL, _STATUS = 0x00, 0x0C
_START, _DONE, _CONTINUE = 1 << 0, 1 << 1, 1 << 4


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Members
    -------
    code : Code
        0, or what went wrong.
    cycles : int
        From the write that started it to the interrupt.
    """

    code: Code
    cycles: int


class Host:
    """A host of a simulated kernel, as a driver of ``ap_ctrl_chain`` is (UG1393).

    Parameters
    ----------
    simulation : KernelSimulation
        The kernel.
    registers : iterable of Register
        Its registers.
    """

    def __init__(self, simulation: KernelSimulation, registers: Iterable[Register]) -> None:
        self._simulation = simulation
        self._registers = {register.name: register for register in registers}
        self.write("global_interrupt_enable", 1)
        self.write("interrupt_enable", 1)

    def write(self, name: str, value: int) -> None:
        """Write a register, low word first."""
        register = self._registers[name]
        for word in range(register.n_words):
            self._simulation.write(register.offset + 4 * word, value >> 32 * word & 0xFFFFFFFF)

    def read(self, name: str) -> int:
        """Read a register; the kernel must not change it meanwhile."""
        register = self._registers[name]
        words = [self._simulation.read(register.offset + 4 * k) for k in range(register.n_words)]
        return sum(word << 32 * k for k, word in enumerate(words))

    def start(self, arguments: dict[str, int]) -> None:
        """Start a call; up to four wait or run."""
        for name, value in arguments.items():
            self.write(name, value)
        self._simulation.write(_CONTROL, _START)

    def wait(
        self,
        max_cycles: int,
        progress: Callable[[int], None] | None = None,
        every: int = _CHUNK,
    ) -> Outcome:
        """Wait for the oldest call that was started.

        Parameters
        ----------
        max_cycles : int
            How long.
        progress : callable, optional
            Is told the cycles since the start, now and then.
        every : int
            How often: after so many cycles.

        Raises
        ------
        CallError
            When it is not done by then, or breaks a rule of AXI on its way.
        """
        simulation = self._simulation
        begin = simulation.cycle
        end = begin + max_cycles
        while True:
            interrupted = simulation.run(min(every, max(end - simulation.cycle, 1)))
            cycles = simulation.cycle - begin
            # That of the call before may last a cycle longer than the write which clears it.
            if interrupted and simulation.read(_CONTROL) & _DONE:
                break
            if simulation.cycle >= end:
                raise CallError(
                    f"The call was not done in {max_cycles:,} cycles; reset the kernel "
                    "(`Host.reset`), or simulate with waves to see what waits"
                )
            if progress is not None:
                progress(simulation.cycle - begin)
        if broken := simulation.violations:
            raise CallError(f"The kernel broke rules of AXI: {', '.join(map(str, broken[:3]))}")
        code = Code(self.read("error") & 0xFF)
        # The continue comes before the clear: status is set as long as done is there.
        simulation.write(_CONTROL, _CONTINUE)
        simulation.write(_STATUS, 1)
        return Outcome(code, cycles)

    @property
    def written(self) -> int:
        """Bytes of outputs that are in memory by now."""
        return sum(port.write_bytes for port in self._simulation.counters.values())

    def call(
        self,
        arguments: dict[str, int],
        max_cycles: int,
        progress: Callable[[int], None] | None = None,
        every: int = _CHUNK,
    ) -> Outcome:
        """Start a call and wait for it.

        Raises
        ------
        CallError
            When the kernel says that something went wrong, or nothing in time.
        """
        self.start(arguments)
        outcome = self.wait(max_cycles, progress, every)
        if outcome.code != Code.OK:
            raise CallError(f"The kernel ended the call with {outcome.code.text}", outcome.code)
        return outcome

    def reset(self, max_cycles: int = 100_000) -> None:
        """Reset the kernel softly: memory is left in the middle of nothing.

        Raises
        ------
        CallError
            When it does not end: a channel of memory does not answer. Only a reset of the whole
            system helps then.
        """
        self.write("reset", 1)
        begin = self._simulation.cycle
        while self.read("reset"):
            if self._simulation.cycle - begin > max_cycles:
                raise CallError(
                    f"The soft reset did not end in {max_cycles:,} cycles: memory does not answer; "
                    "reset the whole system"
                )
            self._simulation.run(100, until_interrupt=False)
