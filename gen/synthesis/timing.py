"""A timing proxy: what a netlist tells about speed without placement.

No clock frequency follows from it. It finds what would certainly be slow: paths of many LUTs or
long carries between registers, nets that drive many pins, DSP slices without their registers.

A module is looked at once. Its summary says what its surroundings have to know: how far it is from
each input to a register, from registers to each output, from inputs to outputs without any, and
how many pins each port drives. So a path is followed across any number of module boundaries, and
an array of a thousand equal elements costs what one of them does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ...tb.errors import ToolError
from .netlist import Cell, Module, Netlist
from .primitives import NOTHING, Length, Node, describe, dsp_registers

__all__ = ["MAX_CARRY_BITS", "MAX_FAN_OUT", "MAX_LUTS", "Path", "Timing", "analyze"]

MAX_LUTS = 4
MAX_CARRY_BITS = 32
"""Longest path between registers: so many LUTs, and carry bits in all."""

MAX_FAN_OUT = 128
"""Most pins that a net may drive, unless it comes straight from a register.

A register is easily doubled, by a vendor's tool too; what stands in front of a gate is not.
"""


@dataclass(frozen=True)
class Path:
    """A path, and how long it is.

    Members
    -------
    luts, carry_bits, dsps : int
        What it goes through; ``dsps`` are DSP slices without a register on the way.
    names : list of str
        Nets and registers along it, from its start to its end.
    """

    luts: int
    carry_bits: int
    dsps: int
    names: list[str]

    @property
    def is_short(self) -> bool:
        """Whether it keeps the rule."""
        return self.luts <= MAX_LUTS and self.carry_bits <= MAX_CARRY_BITS and not self.dsps


@dataclass(frozen=True)
class Timing:
    """What a netlist tells about speed.

    Members
    -------
    paths : mapping
        The worst path of each kind: ``registers`` between two of them, ``inputs`` from an input to
        a register, ``outputs`` from a register to an output, ``through`` from input to output.
        What there is none of is left out.
    fan_out : int
        Most pins that a net behind logic drives; clocks are left out.
    fan_out_net : str
        That net.
    register_fan_out, register_fan_out_net : int, str
        The same of nets that come straight from a register.
    input_fan_out, input_fan_out_net : int, str
        The same of inputs, whose drivers are not here; the design's reset is left out.
    reset_fan_out : int
        Pins of the design's reset.
    dsp_registers : mapping
        Number of DSP slices by the registers that they use.
    unregistered_dsps : int
        DSP slices that lack a register which they have room for, and data to put in.
    """

    paths: Mapping[str, Path]
    fan_out: int
    fan_out_net: str
    register_fan_out: int
    register_fan_out_net: str
    input_fan_out: int
    input_fan_out_net: str
    reset_fan_out: int
    dsp_registers: Mapping[str, int]
    unregistered_dsps: int

    @property
    def is_kept(self) -> bool:
        """Whether every rule is kept."""
        between = self.paths.get("registers")
        return (
            (between is None or between.is_short)
            and self.fan_out <= MAX_FAN_OUT
            and not self.unregistered_dsps
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain tables."""
        rules = {"luts": MAX_LUTS, "carry_bits": MAX_CARRY_BITS, "fan_out": MAX_FAN_OUT}
        return {**asdict(self), "rules": rules, "is_kept": self.is_kept}


_Key = tuple[str, int]
"""A bit of a port."""

_Front = list[Length]
"""Lengths of paths, none of which is covered by another."""


def analyze(netlist: Netlist) -> Timing:
    """Look at a netlist of a Xilinx family.

    Raises
    ------
    ToolError
        When there is a combinational loop.
    """
    graphs: dict[str, _Graph] = {}

    def graph(name: str) -> _Graph:
        if name not in graphs:
            graphs[name] = _Graph(netlist.modules[name], netlist.modules, graph)
        return graphs[name]

    top = graph(netlist.top)
    registers: Counter[str] = Counter()
    lacking = 0
    for (text, is_complete), n in top.dsps.items():
        registers[text] += n
        lacking += 0 if is_complete else n
    resets = [bit for port, bits in top.module.inputs.items() if _is_reset(port) for bit in bits]
    inputs = max(top.input_fan_outs(), default=(0, ""))
    return Timing(
        paths=dict(_worst_paths(top)),
        fan_out=top.fan_out[0],
        fan_out_net=top.fan_out[1],
        register_fan_out=top.register_fan_out[0],
        register_fan_out_net=top.register_fan_out[1],
        input_fan_out=inputs[0],
        input_fan_out_net=inputs[1],
        reset_fan_out=max((top.pins[top.node(bit)] for bit in resets), default=0),
        dsp_registers=dict(registers),
        unregistered_dsps=lacking,
    )


def _is_reset(port: str) -> bool:
    return port == "rst" or port.endswith("_rst")


def _badness(length: Length) -> tuple[bool, int]:
    """Order lengths: those that break the rule first, then about by delay."""
    is_short = Path(*length, names=[]).is_short
    return not is_short, 8 * length.luts + length.carry_bits + 32 * length.dsps


def _worst_paths(top: "_Graph") -> Iterator[tuple[str, Path]]:
    if top.inner:
        length, where = max(top.inner.items(), key=lambda item: _badness(item[0]))
        yield "registers", Path(*length, names=_tidy(top.trace_inner(length, where)))
    inward = [(length, key) for key, front in top.into.items() for length in front]
    if inward:
        length, key = max(inward, key=lambda item: _badness(item[0]))
        names = [top.spell(key), *top.trace_into(key, length)]
        yield "inputs", Path(*length, names=_tidy(names))
    outward = [(length, key) for key, front in top.out_of.items() for length in front]
    if outward:
        length, key = max(outward, key=lambda item: _badness(item[0]))
        yield (
            "outputs",
            Path(*length, names=_tidy([*top.trace_out_of(key, length), top.spell(key)])),
        )
    across = [
        (length, key, to)
        for key, fronts in top.through.items()
        for to, front in fronts.items()
        for length in front
    ]
    if across:
        length, key, to = max(across, key=lambda item: _badness(item[0]))
        names = [top.spell(key), *top.trace_through(key, to, length), top.spell(to)]
        yield "through", Path(*length, names=_tidy(names))


def _tidy(names: Iterable[str]) -> list[str]:
    """Drop names that Yosys made up, and repetitions."""
    kept: list[str] = []
    for name in names:
        if "$" not in name and (not kept or kept[-1] != name):
            kept.append(name)
    return kept


def _pruned(lengths: Iterable[Length]) -> _Front:
    """Keep the lengths that no other one covers."""
    front: _Front = []
    for length in sorted(set(lengths), reverse=True):
        if not any(kept.covers(length) for kept in front):
            front.append(length)
    return front


@dataclass(frozen=True)
class _Via:
    """The cell that an arc, a start or an end is in, and ports of it if that is a module."""

    cell: Cell
    from_key: _Key | None = None
    to_key: _Key | None = None


class _Graph:
    """The nets of a module and what leads from one to the other.

    Members
    -------
    pins : Counter
        Inputs of primitives at each node, in modules inside too.
    dsps : Counter
        DSP slices, by their registers and whether these are complete.
    fan_out, register_fan_out : tuple
        Most pins of a net that is driven within, behind logic or by a register, and its name.
    inner : dict
        Lengths of the paths between two registers within: where each ends.
    """

    def __init__(self, module: Module, modules: Mapping[str, Module], graph: Any) -> None:
        self.module = module
        self._graph = graph
        self._same: dict[Node, Node] = {}
        self.pins: Counter[Node] = Counter()
        self.dsps: Counter[tuple[str, bool]] = Counter()
        self._arcs_from: dict[Node, list[tuple[Node, Length, _Via]]] = defaultdict(list)
        self._arcs_to: dict[Node, list[tuple[Node, Length, _Via]]] = defaultdict(list)
        self._starts: dict[Node, list[tuple[Length, _Via]]] = defaultdict(list)
        self._ends: dict[Node, list[tuple[Length, _Via]]] = defaultdict(list)
        self.fan_out = self.register_fan_out = 0, ""
        self.inner: dict[Length, Any] = {}
        children = [cell for cell in module.cells if cell.type in modules]
        for cell in children:
            self._join(cell)
        for cell in children:
            self._add_module(cell)
        for cell in module.cells:
            if cell.type not in modules:
                self._add_primitive(cell)
        self._rank = {node: rank for rank, node in enumerate(self._ordered())}
        self._collect()

    def node(self, node: Node) -> Node:
        """Return what stands for all nets that are connected to one."""
        while node in self._same:
            node = self._same[node]
        return node

    def port_bits(self) -> Iterator[tuple[_Key, Node, bool]]:
        """Yield each bit of a port, its node, and whether it is an input; constants left out."""
        for ports, is_input in ((self.module.inputs, True), (self.module.outputs, False)):
            for port, bits in ports.items():
                for index, bit in enumerate(bits):
                    if not isinstance(bit, str):
                        yield (port, index), self.node(bit), is_input

    @cached_property
    def input_nodes(self) -> dict[_Key, Node]:
        """Nodes of the bits of inputs."""
        return {key: node for key, node, is_input in self.port_bits() if is_input}

    @cached_property
    def output_nodes(self) -> dict[_Key, Node]:
        """Nodes of the bits of outputs."""
        return {key: node for key, node, is_input in self.port_bits() if not is_input}

    def input_fan_outs(self) -> Iterator[tuple[int, str]]:
        """Yield the pins at each input, and its name; resets are left out."""
        for key, node in self.input_nodes.items():
            if not _is_reset(key[0]):
                yield self.pins[node], self.spell(key)

    # What the surroundings have to know.

    @cached_property
    def arrival(self) -> dict[Node, _Front]:
        """Lengths from registers to each node."""
        return self._spread(
            {node: [length for length, _ in starts] for node, starts in self._starts.items()}
        )

    @cached_property
    def out_of(self) -> dict[_Key, _Front]:
        """Lengths from registers to each output."""
        nodes = self.output_nodes.items()
        return {key: self.arrival[node] for key, node in nodes if node in self.arrival}

    @cached_property
    def _from_inputs(self) -> dict[_Key, dict[Node, _Front]]:
        return {key: self._spread({node: [NOTHING]}) for key, node in self.input_nodes.items()}

    @cached_property
    def into(self) -> dict[_Key, _Front]:
        """Lengths from each input to registers."""
        found = {}
        for key, reached in self._from_inputs.items():
            lengths = [
                length.plus(end)
                for node, front in reached.items()
                for end in self._end_fronts.get(node, [])
                for length in front
            ]
            if lengths:
                found[key] = _pruned(lengths)
        return found

    @cached_property
    def through(self) -> dict[_Key, dict[_Key, _Front]]:
        """Lengths from inputs to outputs without a register; mere wires are left out."""
        found: dict[_Key, dict[_Key, _Front]] = {}
        for key, reached in self._from_inputs.items():
            start = self.input_nodes[key]
            fronts = {
                to: reached[node]
                for to, node in self.output_nodes.items()
                if node in reached and node != start
            }
            if fronts:
                found[key] = fronts
        return found

    # How the graph is made.

    def _join(self, cell: Cell) -> None:
        """Make one node of the nets that are one within a module."""
        inner = self._graph(cell.type)
        seen: dict[Node, Node] = {}
        for (port, index), node, _ in inner.port_bits():
            bits = cell.pins.get(port, [])
            if index < len(bits) and not isinstance(bits[index], str):
                mine = self.node(bits[index])
                other = self.node(seen.setdefault(node, mine))
                if mine != other:
                    self._same[mine] = other

    def _add_module(self, cell: Cell) -> None:
        inner: _Graph = self._graph(cell.type)
        nodes: dict[_Key, Node] = {}
        counted = set()
        for key, node, _ in inner.port_bits():
            bits = cell.pins.get(key[0], [])
            if key[1] < len(bits) and not isinstance(bits[key[1]], str):
                nodes[key] = self.node(bits[key[1]])
                if node not in counted:
                    counted.add(node)
                    self.pins[nodes[key]] += inner.pins[node]
        for key, node in nodes.items():
            for length in inner.out_of.get(key, []):
                self._starts[node].append((length, _Via(cell, from_key=key)))
            for length in inner.into.get(key, []):
                self._ends[node].append((length, _Via(cell, to_key=key)))
            for to, front in inner.through.get(key, {}).items():
                if to in nodes:
                    for length in front:
                        self._add_arc(node, nodes[to], length, _Via(cell, key, to))
        self.dsps.update(inner.dsps)
        if inner.fan_out[0] > self.fan_out[0]:
            self.fan_out = inner.fan_out[0], f"{cell.name}.{inner.fan_out[1]}"
        if inner.register_fan_out[0] > self.register_fan_out[0]:
            n, net = inner.register_fan_out
            self.register_fan_out = n, f"{cell.name}.{net}"
        for length in inner.inner:
            self.inner.setdefault(length, cell)

    def _add_primitive(self, cell: Cell) -> None:
        role, via = describe(cell), _Via(cell)
        if cell.type.startswith("DSP"):
            self.dsps[dsp_registers(cell)] += 1
        for bit in role.pins:
            if not isinstance(bit, str):
                self.pins[self.node(bit)] += 1
        for bits, kept in ((role.starts, self._starts), (role.ends, self._ends)):
            for bit in bits:
                if not isinstance(bit, str):
                    kept[self.node(bit)].append((NOTHING, via))
        for source, sink, length in role.arcs:
            if not isinstance(source, str) and not isinstance(sink, str):
                self._add_arc(self.node(source), self.node(sink), length, via)

    def _add_arc(self, source: Node, sink: Node, length: Length, via: _Via) -> None:
        self._arcs_from[source].append((sink, length, via))
        self._arcs_to[sink].append((source, length, via))

    def _ordered(self) -> Iterator[Node]:
        """Yield the nodes, sources before sinks."""
        left = {node: len(arcs) for node, arcs in self._arcs_to.items()}
        ready = [node for node in self._arcs_from if node not in left]
        n_done = 0
        while ready:
            node = ready.pop()
            yield node
            for sink, _, _ in self._arcs_from.get(node, []):
                left[sink] -= 1
                if not left[sink]:
                    n_done += 1
                    ready.append(sink)
        if n_done < len(left):
            looped = min(self._name(node) for node, n in left.items() if n)
            raise ToolError(
                f"{self.module.name} has a combinational loop through {looped}: "
                "break it by a register"
            )

    def _spread(self, starts: Mapping[Node, Iterable[Length]]) -> dict[Node, _Front]:
        """Return the lengths with which each node is reached."""
        reachable, stack = set(starts), list(starts)
        while stack:
            for sink, _, _ in self._arcs_from.get(stack.pop(), []):
                if sink not in reachable:
                    reachable.add(sink)
                    stack.append(sink)
        lengths: dict[Node, set[Length]] = defaultdict(set)
        for node, front in starts.items():
            lengths[node].update(front)
        reached = {}
        for node in sorted(reachable, key=lambda node: self._rank.get(node, -1)):
            reached[node] = front = _pruned(lengths.pop(node))
            for sink, length, _ in self._arcs_from.get(node, []):
                lengths[sink].update(before.plus(length) for before in front)
        return reached

    @cached_property
    def _end_fronts(self) -> dict[Node, _Front]:
        return {node: _pruned(length for length, _ in ends) for node, ends in self._ends.items()}

    def _collect(self) -> None:
        """Find the longest paths between registers, and the net with most pins."""
        inputs = set(self.input_nodes.values())
        for node, n in self.pins.items():
            if node in inputs:
                continue
            if self.arrival.get(node) == [NOTHING] and not self._arcs_to.get(node):
                if n > self.register_fan_out[0]:
                    self.register_fan_out = n, self._name(node)
            elif n > self.fan_out[0]:
                self.fan_out = n, self._name(node)
        for node, front in self.arrival.items():
            for end in self._end_fronts.get(node, []):
                for length in front:
                    self.inner.setdefault(length.plus(end), (node, length, end))
        self.inner = {length: self.inner[length] for length in _pruned(self.inner)}

    # Names of what is on a path.

    def _name(self, node: Node) -> str:
        return "$" if isinstance(node, tuple) else self.module.net_names.get(node, "$")

    def spell(self, key: _Key) -> str:
        """Return the name of a bit of a port."""
        port, index = key
        ports = {**self.module.inputs, **self.module.outputs}
        return f"{port}[{index}]" if len(ports[port]) > 1 else port

    def trace_inner(self, length: Length, where: Any) -> list[str]:
        """Return the names along a path between two registers."""
        if isinstance(where, Cell):
            inner: _Graph = self._graph(where.type)
            return _below(where, inner.trace_inner(length, inner.inner[length]))
        node, before, end = where
        return [*self._trace_back(self.arrival, node, before), *self._trace_end(node, end)]

    def trace_out_of(self, key: _Key, length: Length) -> list[str]:
        """Return the names from a register to an output."""
        return self._trace_back(self.arrival, self.output_nodes[key], length)

    def trace_into(self, key: _Key, length: Length) -> list[str]:
        """Return the names from an input to a register."""
        reached = self._from_inputs[key]
        node, before, end = next(
            (node, before, end)
            for node, front in reached.items()
            for end in self._end_fronts.get(node, [])
            for before in front
            if before.plus(end) == length
        )
        names = self._trace_back(reached, node, before, self.input_nodes[key])
        return [*names, *self._trace_end(node, end)]

    def trace_through(self, key: _Key, to: _Key, length: Length) -> list[str]:
        """Return the names from an input to an output."""
        start = self.input_nodes[key]
        return self._trace_back(self._from_inputs[key], self.output_nodes[to], length, start)

    def _trace_back(
        self,
        reached: Mapping[Node, _Front],
        node: Node,
        length: Length,
        start: Node | None = None,
    ) -> list[str]:
        """Return the names from a start to a node that is reached with a length."""
        if start is None:
            for begun, via in self._starts.get(node, []):
                if begun == length:
                    if via.from_key is None:
                        return [self._name(node)]
                    inner: _Graph = self._graph(via.cell.type)
                    names = _below(via.cell, inner.trace_out_of(via.from_key, length))
                    return [*names, self._name(node)]
        elif node == start and length == NOTHING:
            return []
        for source, step, via in self._arcs_to[node]:
            for before in reached.get(source, []):
                if before.plus(step) == length:
                    names = self._trace_back(reached, source, before, start)
                    if via.from_key is not None and via.to_key is not None:
                        inner = self._graph(via.cell.type)
                        inside = inner.trace_through(via.from_key, via.to_key, step)
                        names += _below(via.cell, inside)
                    return [*names, self._name(node)]
        raise AssertionError(f"no path of length {length} to {self._name(node)}")

    def _trace_end(self, node: Node, end: Length) -> list[str]:
        via = next(via for length, via in self._ends[node] if length == end)
        if via.to_key is not None:
            inner: _Graph = self._graph(via.cell.type)
            return _below(via.cell, inner.trace_into(via.to_key, end))
        registers = [bit for bit in via.cell.pins.get("Q", []) if not isinstance(bit, str)]
        name = self.module.net_names.get(registers[0], "$") if registers else "$"
        if "$" in name:  # no register, or one without a name
            name = via.cell.type if "$" in via.cell.name else via.cell.name
        return [self._name(node), name]


def _below(cell: Cell, names: Iterable[str]) -> list[str]:
    return [f"{cell.name}.{name}" for name in names]
