from amaranth.hdl import Cat, ClockDomain, DomainRenamer, Module, Mux, Signal, signed
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from qkloom.gen.estimate.content import find_content
from qkloom.gen.estimate.rules import Storage
from qkloom.rtl.component import Component
from qkloom.rtl.delay import Delay


class Sample(Component):
    """A little of everything."""

    def __init__(self, *, width: int) -> None:
        self._width = width
        super().__init__({"a": In(width), "b": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        width = self._width
        m.submodules.late = late = Delay(width=width, cycles=2)
        m.submodules.memory = memory = Memory(shape=width, depth=16, init=[])
        w_port, r_port = memory.write_port(), memory.read_port()
        line = Signal(5, reset_less=True)
        tapped = Signal(5, reset_less=True)
        total = Signal(width)
        product = Signal(signed(2 * width))
        m.d.comb += [
            late.i.eq(self.a),
            w_port.data.eq(self.a),
            r_port.addr.eq(self.b),
            self.o.eq(Mux(line[-1], total, late.o) ^ tapped[1]),
        ]
        m.d.sync += [
            line.eq(Cat(self.a[0], line)),
            tapped.eq(Cat(self.a[0], tapped)),
            total.eq(self.a + self.b),
            product.eq(self.a.as_signed() * self.b.as_signed()),
        ]
        return m


def test_operators():
    content = find_content(Sample(width=8))
    assert [(name, type(part)) for name, part in content.parts] == [("late", Delay)]
    assert content.memories == [Storage(width=8, depth=16, grain=8, clocked_reads=1, free_reads=0)]
    found = {name: n for name, n in content.operators.items() if n}
    # `line` is one LUT; `tapped`, the sum and the product are registers.
    assert found == {
        "line": 1,
        "line_register": 5,
        "register": 5 + 8 + 16,
        "add": 8,  # its carry out is not wanted
        "carry": 1,
        "dsp": 1,
        "mux": 8,
        "or": 8,
    }


class Chosen(Component):
    """Conditions, and several assignments to one signal."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "go": In(1), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.go):
            m.d.sync += self.o.eq(self.a)
        with m.Elif(self.a == 3):
            m.d.sync += self.o.eq(self.b)
        return m


def test_choices():
    operators = find_content(Chosen()).operators
    assert operators["choice"] == 8
    assert operators["match"] == 8
    assert operators["decision"] == 2
    assert operators["copy"] == 16
    assert operators["register"] == 8


class Table(Component):
    """Constants by a number."""

    def __init__(self) -> None:
        super().__init__({"i": In(3), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        with m.Switch(self.i):
            for number in range(8):
                with m.Case(number):
                    m.d.comb += self.o.eq(number * 31)
        return m


def test_constants_are_a_table():
    operators = find_content(Table()).operators
    assert operators["table"] == 8
    assert operators["choice"] == 0


class Renamed(Component):
    """A part and a memory in a clock domain of its own."""

    def __init__(self) -> None:
        super().__init__({"clk": In(1), "i": In(4), "o": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.domains.work = work = ClockDomain(local=True, reset_less=True)
        delay = Delay(width=4, cycles=2)
        memory = Memory(shape=4, depth=16, init=[])
        w_port, r_port = memory.write_port(), memory.read_port()
        m.submodules.delay = DomainRenamer("work")(delay)
        m.submodules.memory = DomainRenamer("work")(memory)
        m.d.comb += [
            work.clk.eq(self.clk),
            delay.i.eq(self.i),
            w_port.data.eq(delay.o),
            self.o.eq(r_port.data),
        ]
        return m


def test_parts_in_other_clock_domains():
    content = find_content(Renamed())
    assert [(name, type(part)) for name, part in content.parts] == [("delay", Delay)]
    assert content.memories == [Storage(width=4, depth=16, grain=4, clocked_reads=1, free_reads=0)]
