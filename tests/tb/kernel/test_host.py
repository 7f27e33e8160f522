"""A host's accesses, one by one, against registers that a list stands in for."""

from dataclasses import dataclass, field

import pytest

from qkloom.rtl.control.control import all_registers
from qkloom.rtl.control.kernel_map import kernel_registers
from qkloom.rtl.kernel.code import Code
from qkloom.tb.errors import CallError
from qkloom.tb.kernel.host import Host, Outcome
from qkloom.tb.memory.counters import PortCounters

REGISTERS = all_registers(*kernel_registers(q_channels=1, k_channels=1, v_channels=1, o_channels=1))
OFFSETS = {register.name: register.offset for register in REGISTERS}
CONTROL, STATUS = OFFSETS["control"], OFFSETS["interrupt_status"]
START, DONE, CONTINUE = 1, 2, 16


@dataclass
class Registers:
    """Stands in for a simulation: registers, and a kernel that needs ``takes`` cycles a call."""

    takes: int = 5000
    code: int = 0
    resets_in: int = 0
    spurious: int = 0
    violations: tuple[str, ...] = ()
    cycle: int = 0
    words: dict[int, int] = field(default_factory=dict)
    log: list[tuple[int, int]] = field(default_factory=list)
    counters: dict[int, PortCounters] = field(default_factory=dict)
    due: int = -1

    def write(self, address, value):
        self.cycle += 5
        self.log.append((address, value))
        self.words[address] = value
        if address == CONTROL and value & START:
            self.due = self.cycle + self.takes
        if address == CONTROL and value & CONTINUE:
            self.due = -1

    def read(self, address):
        self.cycle += 4
        if address == CONTROL:
            return DONE if 0 <= self.due <= self.cycle else 0
        if address == OFFSETS["error"]:
            return self.code
        if address == OFFSETS["reset"]:
            self.resets_in -= 1
            return int(self.resets_in >= 0)
        return self.words.get(address, 0)

    def run(self, cycles, until_interrupt=True):
        if until_interrupt and self.spurious:
            self.spurious -= 1
            self.cycle += 1
            return True
        end = self.cycle + cycles
        if until_interrupt and 0 <= self.due <= end:
            self.cycle = max(self.due, self.cycle + 1)
            return True
        self.cycle = end
        return False


def bench(**changes):
    simulation = Registers(**changes)
    return simulation, Host(simulation, REGISTERS)


def test_enables_interrupts():
    simulation, _ = bench()
    assert simulation.log == [
        (OFFSETS["global_interrupt_enable"], 1),
        (OFFSETS["interrupt_enable"], 1),
    ]


class TestRegisters:
    def test_words(self):
        simulation, host = bench()
        host.write("q_0", 0x1234_5678_9ABC_DEF0)
        host.write("q_start", -2)
        at = OFFSETS["q_0"]
        assert simulation.log[2:] == [
            (at, 0x9ABC_DEF0),
            (at + 4, 0x1234_5678),
            (OFFSETS["q_start"], 0xFFFF_FFFE),
        ]
        assert host.read("q_0") == 0x1234_5678_9ABC_DEF0

    def test_unknown(self):
        _, host = bench()
        with pytest.raises(KeyError):
            host.write("nothing", 0)


class TestCall:
    def test_accesses(self):
        simulation, host = bench(takes=777)
        outcome = host.call({"heads": 3, "k_0": 1 << 33}, 10_000)
        assert outcome.code == Code.OK and isinstance(outcome, Outcome)
        assert outcome.cycles == 777
        # Arguments before the start; the continue before the interrupt is cleared.
        assert simulation.log[2:] == [
            (OFFSETS["heads"], 3),
            (OFFSETS["k_0"], 0),
            (OFFSETS["k_0"] + 4, 2),
            (CONTROL, START),
            (CONTROL, CONTINUE),
            (STATUS, 1),
        ]

    @pytest.mark.parametrize("code", [Code.HEADS, Code.DECERR, Code.TIMEOUT])
    def test_codes(self, code):
        _, host = bench(code=code)
        with pytest.raises(
            CallError, match=rf"^The kernel ended the call with code {code.value}, "
        ):
            host.call({}, 10_000)
        host.start({})
        assert host.wait(10_000).code == code

    def test_interrupt_of_before(self):
        simulation, host = bench(spurious=3, takes=900)
        assert host.call({}, 10_000).code == Code.OK
        assert simulation.cycle > 900

    def test_takes_too_long(self):
        simulation, host = bench(takes=5000)
        with pytest.raises(CallError, match=r"^The call was not done in 4,000 cycles; reset the "):
            host.call({}, 4_000)
        assert simulation.cycle < 4_100

    def test_broken_rules(self):
        _, host = bench(violations=("a", "b", "c", "d"))
        with pytest.raises(CallError, match=r"^The kernel broke rules of AXI: a, b, c$"):
            host.call({}, 10_000)

    def test_progress(self):
        _, host = bench(takes=3 << 20)
        told = []
        host.call({}, 4 << 20, told.append)
        assert len(told) == 2 and told == sorted(told)

    def test_written(self):
        _, host = bench(counters={0: PortCounters(write_bytes=5), 1: PortCounters(write_bytes=7)})
        assert host.written == 12


class TestReset:
    def test_waits(self):
        simulation, host = bench(resets_in=3)
        host.reset()
        assert simulation.log[2:] == [(OFFSETS["reset"], 1)]
        assert 300 <= simulation.cycle < 500

    def test_does_not_end(self):
        _, host = bench(resets_in=1 << 30)
        with pytest.raises(CallError, match=r"^The soft reset did not end in 2,000 cycles: "):
            host.reset(2_000)
