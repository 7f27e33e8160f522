"""What is directly in a component: parts, memories, registers and operators, without its parts'."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Fragment, Shape, Signal
from amaranth.lib.memory import Memory

from ...rtl.component import Component
from .rules import Storage, multiplier_slices

__all__ = ["Content", "find_content"]


@dataclass(frozen=True)
class Content:
    """What is directly in a component.

    Members
    -------
    parts : list of (str, Component)
        Components, with the names of their instances.
    memories : list of Storage
        Memories.
    operators : Counter
        Bits of each kind of operator, and of registers:

        ``register``, ``copy``
            bits that are assigned at a clock; those that only take what another signal has
        ``line_register``, ``line``
            bits of shift registers that one LUT holds 16 of; bits that enter these
        ``add``, ``compare``, ``equal``, ``and``, ``or``, ``reduce``, ``shift``, ``select``, ``mux``
            bits of sums, of comparisons, and so on
        ``choice``, ``table``, ``decision``
            bits that several assignments compete for; bits of tables of constants; conditions
        ``carry``
            carry bits / 8, rounded up to the halves that Yosys makes
        ``dsp``, ``product``
            DSP slices, and bits of products that are too small for one
    """

    parts: list[tuple[str, Component]]
    memories: list[Storage]
    operators: Counter[str]


class _Boxes:
    """A platform object that takes each component inside a first one for a black box."""

    def __init__(self) -> None:
        self.inside: list[Component] = []
        self._is_open = False

    def instantiate(self, component: Component, elaborate: Callable[[Any, Any], Any]) -> Any:
        """Elaborate the first component, and the class that it derives from; note the others."""
        if not self._is_open:
            self._is_open = True
            return elaborate(component, self)
        self.inside.append(component)
        return Fragment()


def find_content(component: Component) -> Content:
    """Return what one component is made of."""
    boxes = _Boxes()
    fragment = Fragment.get(component, boxes)
    # A renamer of clock domains copies what it is handed; the copy knows what it comes from.
    origins = [
        (origin, name or "")
        for inner, name, _ in fragment.subfragments
        for origin in inner.origins or ()
    ]
    names = {id(origin): name for origin, name in origins}
    memories = [storage_of(origin) for origin, _ in origins if isinstance(origin, Memory)]
    reader = _Reader()
    for domain, statements in fragment.statements.items():
        reader.read(statements, is_clocked=domain != "comb")
    return Content([(names[id(part)], part) for part in boxes.inside], memories, reader.result())


def storage_of(memory: Memory) -> Storage:
    """Return what decides how a memory is built."""
    width = Shape.cast(memory.data.shape).width
    grains = max((len(port.en) for port in memory.write_ports), default=1)
    return Storage(
        width=width,
        depth=memory.data.depth,
        grain=width // max(grains, 1),
        clocked_reads=sum(port.domain != "comb" for port in memory.read_ports),
        free_reads=sum(port.domain == "comb" for port in memory.read_ports),
        style=str(getattr(memory, "attrs", {}).get("ram_style", "")),
    )


class _Reader:
    """Adds up statements. Equal operators that are one object are one operator."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._counts: Counter[str] = Counter()
        self._targets: Counter[tuple[int, int, int]] = Counter()
        self._constants: Counter[tuple[int, int, int]] = Counter()
        self._registers: dict[int, int] = {}
        self._lines: dict[int, tuple[int, int]] = {}
        self._lowest_read: dict[int, int] = {}

    def read(self, statements: Iterable[Any], *, is_clocked: bool) -> None:
        """Add statements."""
        for statement in statements:
            match type(statement).__name__:
                case "Assign":
                    self._assign(statement.lhs, statement.rhs, is_clocked)
                case "Switch":
                    # LUTs that choose among many look at the number themselves.
                    self._counts["decision"] += min(len(statement.cases), 4)
                    self._value(statement.test)
                    for _, inner, *_ in statement.cases:
                        self.read(inner, is_clocked=is_clocked)

    def result(self) -> Counter[str]:
        """Return the sums."""
        counts = self._counts.copy()
        for key, (width, entering) in self._lines.items():
            # A LUT shows one stage only.
            if width >= 3 * entering and self._lowest_read.get(key, width) >= width - entering:
                counts["line"] += entering
                counts["line_register"] += width
        counts["register"] = sum(self._registers.values()) - counts["line_register"]
        for target, n in self._targets.items():
            # All constants together are a table, one LUT a bit.
            constants = self._constants[target]
            counts["choice"] += target[2] * _choices(n - constants + (constants > 0))
            counts["table"] += target[2] * (constants > 1)
        return counts

    def _assign(self, lhs: Any, rhs: Any, is_clocked: bool) -> None:
        key, start, stop = _place(lhs)
        self._targets[key, start, stop - start] += 1
        self._constants[key, start, stop - start] += isinstance(rhs, Const)
        if is_clocked:
            signals = lhs._lhs_signals()
            self._registers.update((id(signal), len(signal)) for signal in signals)
            if _is_line(lhs, rhs):
                self._lines[id(lhs)] = len(lhs), len(rhs.parts[0])
                rhs = rhs.parts[0]
            elif _is_wire(rhs) and not isinstance(rhs, Const):
                self._counts["copy"] += min(len(lhs), len(rhs))
        if not isinstance(lhs, Signal):
            self._value(lhs)
        self._value(rhs, len(lhs))

    def _value(self, value: Any, most: int | None = None) -> None:
        """Add the operators of an expression of which the lowest bits count."""
        waiting = [(value, most)]

        def also(*values: Any, most: int | None = None) -> None:
            waiting.extend((value, most) for value in values)

        while waiting:
            value, most = waiting.pop()
            if isinstance(value, Signal):
                self._lowest_read[id(value)] = 0
            if isinstance(value, Signal | Const) or id(value) in self._seen:
                continue
            self._seen.add(id(value))
            match type(value).__name__:
                case "Concat":
                    also(*value.parts)
                case "Slice" if isinstance(value.value, Signal):
                    lowest = self._lowest_read.get(id(value.value), value.start)
                    self._lowest_read[id(value.value)] = min(lowest, value.start)
                case "Slice":
                    also(value.value, most=value.stop)
                case "Part":
                    self._counts["select"] += len(value) * max(1, len(value.value) // value.stride)
                    also(value.value, value.offset)
                case "SwitchValue":
                    self._counts["mux"] += len(value) * _choices(len(value.cases))
                    also(value.test)
                    also(*(result for _, result, *_ in value.cases), most=most)
                case "ArrayProxy":
                    branches = list(value._iter_as_values())
                    self._counts["select"] += len(value) * len(branches)
                    also(value.index, *branches)
                case "Operator":
                    most = self._operator(value, most)
                    also(*value.operands, most=most)

    def _operator(self, value: Any, most: int | None) -> int | None:
        """Add an operator; return how many bits of its operands count, if not all."""
        operands = value.operands
        n_variable = sum(not isinstance(operand, Const) for operand in operands)

        def width() -> int:  # widths of expressions take long to find
            return len(value) if most is None else min(len(value), most)

        def widest() -> int:
            return max(map(len, operands))

        match value.operator:
            case "+" | "-":
                bits = width()
                self._counts["add" if n_variable > 1 else "increment"] += bits
                self._carry(bits)
                return bits
            case "u" | "s":
                return most
            case "*" if n_variable > 1:
                a, b = ((len(x), bool(x.shape().signed)) for x in operands)
                slices = multiplier_slices(a, b, width())
                self._counts["dsp"] += slices
                if not slices:
                    self._counts["product"] += a[0] * b[0]
            case "<" | ">" | "<=" | ">=":
                bits = widest()
                self._counts["compare" if n_variable > 1 else "limit"] += bits
                self._carry(bits)
            case "==" | "!=":
                self._counts["equal" if n_variable > 1 else "match"] += widest()
            case "&":
                self._counts["and"] += width()
            case "|" | "^":
                self._counts["or"] += width()
            case "r|" | "r&" | "r^" | "b":
                self._counts["reduce"] += widest()
            case "<<" | ">>" if n_variable > 1:
                amount = len(operands[1])
                self._counts["shift"] += min(width(), 2 * len(operands[0])) * amount
        return None

    def _carry(self, bits: int) -> None:
        if bits > 2:  # Yosys makes CARRY4, and uses none for two bits
            self._counts["carry"] += -(-bits // 4) / 2  # type: ignore[assignment]


def _choices(n: int) -> int:
    """Return the LUTs that choose a bit out of ``n``: each of them one out of four."""
    return -(-(n - 1) // 3)


def _place(lhs: Any) -> tuple[int, int, int]:
    """Return the signal of a target, and which of its bits."""
    if type(lhs).__name__ == "Operator":  # a view of a sign
        return _place(lhs.operands[0])
    if type(lhs).__name__ == "Slice":
        key, start, _ = _place(lhs.value)
        return key, start + lhs.start, start + lhs.stop
    if isinstance(lhs, Signal):
        return id(lhs), 0, len(lhs)
    signals = list(lhs._lhs_signals())
    return id(signals[0]) if len(signals) == 1 else id(lhs), 0, len(lhs)


def _is_line(lhs: Any, rhs: Any) -> bool:
    """Whether this is a shift register without a reset: a word enters, the others move up."""
    return (
        isinstance(lhs, Signal)
        and lhs.reset_less
        and type(rhs).__name__ == "Concat"
        and len(rhs.parts) == 2
        and rhs.parts[1] is lhs
        and len(rhs.parts[0]) > 0
    )


def _is_wire(value: Any) -> bool:
    """Whether an expression has no operator."""
    if isinstance(value, Signal | Const):
        return True
    match type(value).__name__:
        case "Concat":
            return all(map(_is_wire, value.parts))
        case "Slice":
            return _is_wire(value.value)
    return False
