"""Emission: a component becomes RTLIL and Verilog in which every distinct module exists once."""

import gc
import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Const,
    DomainRenamer,
    Elaboratable,
    Fragment,
    Instance,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..rtl.component import Component
from ..rtl.primitive import Primitive
from ..tb.design import Design, Port
from .verilog import to_verilog

__all__ = ["emit", "without_collector"]

MAX_NAME_LENGTH = 64
"""Longer module names end in a hash instead."""

_LARGE = 1 << 18
"""Bits of a memory whose zeros are not written."""


def emit(
    component: Component, *, name: str | None = None, verilog: bool = False, target: Any = None
) -> Design:
    """Convert a component and everything in it.

    Each distinct component is elaborated and converted once, and instantiated wherever it is used;
    two are the same when class and keyword parameters are. A module runs on the clock domains of
    its own text (``sync`` is ``clk`` and ``rst``, ``fast`` is ``fast_clk`` and ``fast_rst``) and
    its parent connects them, so that a ``DomainRenamer`` outside never makes a second module.

    The same component gives the same bytes in every run.

    Parameters
    ----------
    component : Component
        Top of the design.
    name : str, optional
        Name of the top module; ``component.module_name`` by default.
    verilog : bool
        Whether to make the Verilog too.
    target : object, optional
        Whose ``structure(block)`` builds blocks from the target's primitives, and whose ``models``
        are Verilog of these for simulation; see :class:`~qkloom.rtl.primitive.Primitive`. Without
        one they are their twins, which every engine can simulate.

    Raises
    ------
    TypeError
        When the top is not a :class:`~qkloom.rtl.component.Component`, or a parameter has no text
        that is the same in every run.
    ValueError
        When ``name`` is not an identifier, or the design asks for what shared modules cannot do:
        contain themselves, run on a falling edge or an asynchronous reset, be controlled by an
        ``EnableInserter`` or ``ResetInserter``, define a clock domain for their parent, or have a
        port that is named like a clock.
    ToolError
        When Verilog is asked for and Yosys is missing.
    """
    if not isinstance(component, Component):
        raise TypeError(f"Only a qkloom component can be emitted, not {component!r}")
    if name is not None and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"A module name must be an identifier, not {name!r}")
    sharing = _Sharing(name, target)
    with without_collector():
        top = Fragment.get(component, sharing).type
    modules = list(sharing.modules.values())
    text = "".join(
        module.rtlil if module.name == top else module.rtlil.replace("attribute \\top 1\n", "")
        for module in reversed(modules)
    )
    return Design(
        name=top,
        component=component,
        rtlil=text,
        verilog=to_verilog(text) if verilog else None,
        ports=tuple(port for port, _ in _ports(component)),
        boundaries=tuple(module.name for module in modules if module.keep_boundary),
        digest=hashlib.sha256(text.encode()).hexdigest(),
        primitives="" if target is None else _used_models(text, target),
    )


def _used_models(rtlil: str, target: Any) -> str:
    """Return the models of the primitives that a design instantiates."""
    used = set(re.findall(r"^  cell \\(\w+) ", rtlil, re.MULTILINE))
    return "\n".join(text for name, text in sorted(target.models.items()) if name in used)


@dataclass(frozen=True)
class _Module:
    """An emitted module."""

    name: str
    rtlil: str
    domains: tuple[str, ...]
    """Clock domains that the parent connects."""
    own_domains: frozenset[str]
    """Clock domains that the module defines, and that plain Amaranth would hand to its parent."""
    keep_boundary: bool

    def instance(self, component: Component) -> Instance:
        """Return this module as the body of ``component``."""
        arguments: list[tuple[str, str, Any]] = []
        for domain in self.domains:
            clk, rst = _clock_ports(domain)
            arguments.append(("i", clk, ClockSignal(domain)))
            arguments.append(("i", rst, ResetSignal(domain, allow_reset_less=True)))
        for port, value in _ports(component):
            arguments.append(("i" if port.is_input else "o", port.name, value))
        return Instance(self.name, *arguments)


class _Sharing:
    """The platform object of an emission: components elaborate to instances of shared modules.

    Members
    -------
    modules : dict
        Every module so far by its name, children before parents.
    """

    def __init__(self, top_name: str | None, target: Any) -> None:
        self.modules: dict[str, _Module] = {}
        self._top_name, self._target = top_name, target
        self._names: dict[Any, str] = {}
        self._open: list[Component] = []

    def instantiate(self, component: Component, elaborate: Callable[[Any, Any], Any]) -> Any:
        """Return what ``component`` elaborates to: an instance of its module."""
        if self._open and self._open[-1] is component:
            return elaborate(component, self)  # super().elaborate() of a derived class
        text = _spell(component)
        # Equal values may print differently (1 and True), and then mean different hardware.
        key = type(component), tuple(component.parameters.items()), text
        if key not in self._names:
            self._names[key] = name = self._choose_name(component, text)
            self._open.append(component)
            body = Fragment.get(elaborate(component, self), self)
            self._open.pop()
            self.modules[name] = self._convert(component, name, body)
        elif self._names[key] not in self.modules:
            raise ValueError(f"{text} contains itself")
        return self.modules[self._names[key]].instance(component)

    def structure(self, block: Primitive) -> Any:
        """Return what the target builds instead of the twin of ``block``, if anything."""
        return None if self._target is None else self._target.structure(block)

    def _choose_name(self, component: Component, text: str) -> str:
        """Return a name that no other module of the design has."""
        if not self._names and self._top_name is not None:
            return self._top_name
        name = component.module_name
        taken = self._names.values()
        if name in taken or len(name) > MAX_NAME_LENGTH:
            digest = hashlib.sha256(text.encode()).hexdigest()[:8]
            name = stem = f"{name[: MAX_NAME_LENGTH - 9]}_{digest}"
            while name in taken:  # two classes of one name, as functions may define them
                name = f"{stem}_{len(taken)}"
        return name

    def _convert(self, component: Component, name: str, body: Fragment) -> _Module:
        """Convert one module whose children are converted."""
        if type(body) is not Fragment:  # an Instance needs a module around it
            inner, body = body, Fragment()
            body.add_subfragment(inner, "inner")
        own_domains, domains = self._resolve_domains(name, body)
        ports = {port.name: (port, value) for port, value in _ports(component)}
        for domain in domains:
            clocks = ClockDomain(domain)
            body.add_domains(clocks)
            clk, rst = _clock_ports(domain)
            for port_name, value in ((clk, clocks.clk), (rst, clocks.rst)):
                if port_name in ports:
                    raise ValueError(f"Port {port_name!r} of {name} is named like a clock domain's")
                ports[port_name] = Port(port_name, 1, is_input=True, is_signed=False), value
        with _renamed(self._wires(body)), _contents_at_once():
            text = rtlil.convert(_Converted(body, ports), name=name, emit_src=False)
        return _Module(name, text, domains, own_domains, type(component).keep_boundary)

    def _resolve_domains(self, name: str, body: Fragment) -> tuple[frozenset[str], tuple[str, ...]]:
        """Return the clock domains that ``body`` defines, and those that it needs."""
        needed = []

        def note(domain: str) -> ClockDomain:
            needed.append(domain)
            return ClockDomain(domain)

        # Amaranth adds what is missing by itself, but in an order that changes from run to run.
        # So only a copy is prepared: that is what a renamer makes that renames nothing.
        copy = DomainRenamer({})(body)
        copy.prepare(missing_domain=note)
        for path, instance in self._shared(copy):
            if upward := self.modules[instance.type].own_domains.intersection(needed):
                raise ValueError(
                    f"Clock domain {min(upward)!r} must be defined in {name} or above, "
                    f"not inside its submodule {path}"
                )
            for value, _ in instance.ports.values():
                if isinstance(value, ClockSignal):
                    domain = instance.domains[value.domain]
                    if domain.clk_edge != "pos" or domain.async_reset:
                        raise ValueError(
                            "A shared module needs a rising edge and a synchronous reset, "
                            f"unlike clock domain {domain.name!r} of {name}.{path}"
                        )
        own = {domain.name for domain in copy.domains.values() if not domain.local}
        return frozenset(own.difference(needed)), tuple(sorted(needed))

    def _shared(self, fragment: Fragment) -> Iterator[tuple[str, Instance]]:
        """Find the instances of shared modules below ``fragment``, with their paths."""
        for path, inner, control in _descend(fragment):
            if isinstance(inner, Instance) and inner.type in self.modules:
                if control is not None:
                    raise ValueError(
                        f"{type(control).__name__} cannot reach into {path}, which is a shared "
                        "module; give it an enable port, or a clock domain with a reset of its own"
                    )
                yield path, inner

    def _wires(self, fragment: Fragment) -> Iterator[tuple[Signal, str]]:
        """Find the wires at instances and memories, and name them by these.

        Then 256 elements have ``pe_0_0__o``, ``pe_0_1__o``, ... and not ``o``, ``o$1``, ...
        """
        for path, inner, _ in _descend(fragment):
            wires: list[tuple[str, Value]] = []
            if isinstance(inner, Instance) and inner.type in self.modules:
                wires += [(name, value) for name, (value, _) in inner.ports.items()]
            for origin in inner.origins or ():
                if isinstance(origin, Memory):
                    wires += _memory_ports(origin)
            for name, value in wires:
                if isinstance(value, Signal):
                    yield value, f"{path.rpartition('.')[2]}__{name}"


def _descend(
    fragment: Fragment, path: str = "", control: object = None
) -> Iterator[tuple[str, Fragment, object]]:
    """Walk a tree of fragments, with the path and the innermost control inserter around each."""
    for origin in fragment.origins or ():
        for transform in getattr(origin, "_transforms_", ()):
            if not isinstance(transform, DomainRenamer):
                control = transform
    yield path, fragment, control
    for index, (inner, name, _) in enumerate(fragment.subfragments):
        name = name or f"u{index}"
        yield from _descend(inner, f"{path}.{name}" if path else name, control)


class _Converted(Elaboratable):
    """A fragment with ports, as the converter wants it."""

    def __init__(self, fragment: Fragment, ports: dict[str, tuple[Port, Value]]) -> None:
        self._fragment = fragment
        self.signature = wiring.Signature(
            {name: (In if port.is_input else Out)(port.width) for name, (port, _) in ports.items()}
        )
        self.__dict__.update((name, value) for name, (_, value) in ports.items())

    def elaborate(self, platform: object) -> Fragment:
        return self._fragment


@contextmanager
def without_collector() -> Iterator[None]:
    """Spare the garbage collector: Amaranth makes an object per bit, and hardly a cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _contents_at_once() -> Iterator[None]:
    """Let Amaranth write what a memory holds row by row, and not as an object for each bit.

    A table of ten million bits takes it most of a minute. The text is the same; but zeros of a
    large memory are not written. Simulators begin with them anyway, and Verilog has a loop.
    """
    emitter = rtlil.ModuleEmitter
    before = emitter.emit_memory

    def emit_memory(self: Any, index: int, cell: Any) -> None:
        if cell.width * len(cell.init) >= _LARGE and not any(cell.init):
            return
        mask = (1 << cell.width) - 1
        rows = (f"{row & mask:0{cell.width}b}" for row in reversed(cell.init))
        contents = f"{cell.width * len(cell.init)}'{''.join(rows)}"

        def sigspec(*parts: Any) -> str:
            is_contents = len(parts) == 1 and isinstance(parts[0], Generator)
            return contents if is_contents else emitter.sigspec(self, *parts)

        self.sigspec = sigspec
        try:
            before(self, index, cell)
        finally:
            del self.sigspec

    emitter.emit_memory = emit_memory
    try:
        yield
    finally:
        emitter.emit_memory = before


@contextmanager
def _renamed(signals: Iterable[tuple[Signal, str]]) -> Iterator[None]:
    """Give signals other names for a while."""
    before = []
    for signal, name in signals:
        before.append((signal, signal.name))
        signal.name = name
    try:
        yield
    finally:
        for signal, name in before:
            signal.name = name


def _ports(component: Component) -> Iterator[tuple[Port, Value]]:
    """Flatten the signature, without ports that have no bits or, always ready, never change."""
    for path, member, value in component.signature.flatten(component):
        value = Value.cast(value)
        if len(value) and not isinstance(value, Const):
            name = "__".join(map(str, path))
            yield Port(name, len(value), member.flow == In, value.shape().signed), value


def _memory_ports(memory: Memory) -> Iterator[tuple[str, Value]]:
    """Name the ports of a memory ``w_addr``, ``w_data``, ``w_en``, ``r_addr``, ..., ``r1_addr``."""
    for kind, ports in (("w", memory.write_ports), ("r", memory.read_ports)):
        for index, port in enumerate(ports):
            for name in ("addr", "data", "en"):
                yield f"{kind}{index or ''}_{name}", Value.cast(getattr(port, name))


def _clock_ports(domain: str) -> tuple[str, str]:
    """Return the names of clock and reset of a domain, as Amaranth has them."""
    return ("clk", "rst") if domain == "sync" else (f"{domain}_clk", f"{domain}_rst")


def _spell(component: Component) -> str:
    """Return class and parameters as text that is the same in every run."""
    for name, value in component.parameters.items():
        # An address, and an order of elements, change from run to run.
        if " at 0x" in repr(value) or "frozenset(" in repr(value):
            raise TypeError(f"Parameter {name!r} must print the same in every run, not {value!r}")
    arguments = ", ".join(f"{name}={value!r}" for name, value in component.parameters.items())
    return f"{type(component).__module__}.{type(component).__qualname__}({arguments})"
