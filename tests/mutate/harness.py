"""Surroundings of units, so that testbenches of streams alone can drive every port they have."""

from itertools import product

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.rtl.component import Component
from qkloom.rtl.lane.feeder import Feeder
from qkloom.rtl.lane.normalize import Normalizer
from qkloom.rtl.lane.pipeline import delayed
from qkloom.rtl.lane.query import QueryBuffer
from qkloom.rtl.stream import CreditGate, Queue, connect_stream
from qkloom.rtl.stream.crossing import CREDITS, LineSender

__all__ = [
    "CreditLoop",
    "FedFeeder",
    "Lawful",
    "Line",
    "LoadedQueries",
    "Scripted",
    "Surrounded",
    "TimedNormalizer",
]


class Lawful(Component):
    """A component whose surroundings keep the rules of streams, whatever they would like to do.

    An item that was offered stays until it is taken; the payload of an output that is not valid is
    0. A testbench notices nothing of that. For a proof, it makes all inputs lawful and takes what
    does not matter out of the outputs.

    Parameters
    ----------
    part : type
        Class of the component.
    parameters : tuple of (str, value)
        Its parameters.

    Members
    -------
    Those of the component, which has nothing but streams.
    """

    def __init__(self, *, part, parameters):
        self.inner = part(**dict(parameters))
        super().__init__(dict(self.inner.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        for name, member in inner.signature.members.items():
            for number, index in enumerate(product(*map(range, member.dimensions))):
                outside, inside = _at(getattr(self, name), index), _at(getattr(inner, name), index)
                if member.flow == In:
                    self._drive(m, f"{name}_{number}", outside, inside)
                else:
                    bits = Value.cast(inside.payload)
                    m.d.comb += [
                        Value.cast(outside.payload).eq(Mux(inside.valid, bits, 0)),
                        *_unless_constant(outside.valid, inside.valid),
                        *_unless_constant(inside.ready, outside.ready),
                    ]
        return m

    def _drive(self, m, name, outside, inside):
        bits = Value.cast(outside.payload)
        waiting = Signal(name=f"{name}_waiting")
        held = Signal(len(bits), name=f"{name}_held")
        m.d.comb += [
            inside.valid.eq(outside.valid | waiting),
            Value.cast(inside.payload).eq(Mux(waiting, held, bits)),
            *_unless_constant(outside.ready, inside.ready),
        ]
        if not isinstance(Value.cast(inside.ready), Const):
            m.d.sync += waiting.eq(inside.valid & ~inside.ready)
            m.d.sync += held.eq(Value.cast(inside.payload))


class Scripted(Component):
    """A unit that always accepts; one item holds every input that it has in a cycle.

    So the stimulus alone decides what the unit is sent, asked and told at the same time.

    Parameters
    ----------
    part : type
        Class of the unit.
    parameters : tuple of (str, value)
        Its parameters.

    Members
    -------
    script : In(stream)
        Inputs of the unit by name. In a cycle without an item, whatever is called ``valid`` or
        ``en`` is 0.
    others : Out(stream)
        Output streams of the unit; what its read ports return, valid when it was asked for; and
        its plain outputs, valid ``latency`` cycles after an item.
    """

    def __init__(self, *, part, parameters):
        self.unit = unit = part(**dict(parameters))
        script = data.StructLayout({name: shape for name, shape, _ in _inputs(unit)})
        members = {"script": In(_always(script).signature)}
        for name, member in unit.signature.members.items():
            if _is_stream(member):
                members |= {name: member} if member.flow == Out else {}
            elif member.is_port:
                members |= {name: _always(member.shape)} if member.flow == Out else {}
            elif returned := _fields(getattr(unit, name), Out):
                members[name] = _always(data.StructLayout(returned))
        self._outputs = tuple(members)[1:]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        for name, _, value in _inputs(unit):
            bits = Value.cast(self.script.payload[name])
            if name.endswith(("__valid", "__en")):
                bits &= self.script.valid
            m.d.comb += Value.cast(value).eq(bits)
        for name in self._outputs:
            o, inner = getattr(self, name), getattr(unit, name)
            member = unit.signature.members[name]
            if _is_stream(member):
                connect_stream(m, inner, wiring.flipped(o))
            elif member.is_port:
                valids = Signal(unit.latency, name=f"{name}_valids")
                m.d.sync += valids.eq(Cat(self.script.valid, valids))
                m.d.comb += o.valid.eq(valids[-1])
                m.d.comb += Value.cast(o.payload).eq(Value.cast(inner))
            else:
                m.d.sync += o.valid.eq(inner.en)
                m.d.comb += Value.cast(o.payload).eq(_joined(inner, o.payload))
        return m


class Surrounded(Component):
    """A unit, streams that answer what it reads from memories, and streams that tell what it read.

    Parameters
    ----------
    part : type
        Class of the unit.
    parameters : tuple of (str, value)
        Its parameters.

    Members
    -------
    streams : stream
        Those of the unit.
    asked_x, answer_x : Out(stream), In(stream)
        For a read port ``x``: what is read in this cycle; and its data, which come in the next one.
        When nothing is read, they are the complement of an answer.
    level_x : Out(stream)
        A plain output, in every cycle.
    """

    gated = ()
    """Always ready inputs of the unit that are sent when :meth:`is_open` allows it."""

    def __init__(self, *, part, parameters):
        self.unit = unit = part(**dict(parameters))
        members = {}
        for name, member in unit.signature.members.items():
            if name in self.gated:
                members[name] = In(stream.Signature(getattr(unit, name).payload.shape()))
            elif _is_stream(member):
                members[name] = member
            elif member.is_port:
                always = stream.Signature(member.shape, always_ready=True, always_valid=True)
                members[f"level_{name}"] = Out(always)
            else:
                asked, answer = (_fields(getattr(unit, name), flow) for flow in (Out, In))
                members[f"asked_{name}"] = _always(data.StructLayout(asked))
                members[f"answer_{name}"] = In(stream.Signature(data.StructLayout(answer)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        for name, member in unit.signature.members.items():
            inner = getattr(unit, name)
            if name in self.gated:
                self._gate(m, name, inner)
            elif _is_stream(member):
                for index in product(*map(range, member.dimensions)):
                    a, b = _at(getattr(self, name), index), _at(inner, index)
                    ends = (wiring.flipped(a), b) if member.flow == In else (b, wiring.flipped(a))
                    connect_stream(m, *ends)
            elif member.is_port:
                level = getattr(self, f"level_{name}").payload
                m.d.comb += Value.cast(level).eq(Value.cast(inner))
            else:
                self._answer(m, name, inner)
        return m

    def is_open(self, m, name, payload, moves):
        """Tell whether an item may be sent; ``moves`` says when one is."""
        raise NotImplementedError

    def is_there(self, name, port):
        """Tell whether a memory holds what is read from it."""
        return Const(1)

    def _gate(self, m, name, inner):
        outer = getattr(self, name)
        is_open = Signal(name=f"{name}_is_open")
        m.d.comb += [
            is_open.eq(self.is_open(m, name, outer.payload, outer.valid & is_open)),
            outer.ready.eq(is_open),
            inner.valid.eq(outer.valid & is_open),
            Value.cast(inner.payload).eq(Value.cast(outer.payload)),
        ]

    def _answer(self, m, name, inner):
        asked, answer = getattr(self, f"asked_{name}"), getattr(self, f"answer_{name}")
        bits = Value.cast(answer.payload)
        found = Signal(len(bits), name=f"found_{name}")
        m.d.sync += found.eq(~bits)
        with m.If(inner.en & self.is_there(name, inner)):
            m.d.sync += found.eq(bits)
        m.d.comb += [
            asked.valid.eq(inner.en),
            Value.cast(asked.payload).eq(_joined(inner, asked.payload)),
            answer.ready.eq(inner.en),
            _joined(inner, answer.payload).eq(found),
        ]


class FedFeeder(Surrounded):
    """The feeder; a slot or a bank is announced when what it held before has been used.

    What is read before it is announced, or afterwards, is the complement of an answer.
    """

    gated = ("loaded", "done")

    def __init__(self, *, parameters):
        super().__init__(part=Feeder, parameters=parameters)
        slots = 1 << len(self.unit.loaded.payload.slot)
        self._there = {"loaded": Signal(slots), "done": Signal(2)}

    def is_open(self, m, name, payload, moves):
        there, work = self._there[name], self.unit.i.payload
        if name == "loaded":
            announced, used, ends = payload.slot, work.slot, ~work.value & work.last
        else:
            announced, used, ends = payload.bank, work.bank, work.value
        with m.If(self.unit.i.valid & self.unit.i.ready & work.tile_last & ends):
            m.d.sync += there.bit_select(used, 1).eq(0)
        with m.If(moves):
            m.d.sync += there.bit_select(announced, 1).eq(1)
        return ~there.bit_select(announced, 1)

    def is_there(self, name, port):
        there = self._there["loaded" if name == "queries" else "done"]
        return there.bit_select(port.bank, 1)


class TimedNormalizer(Surrounded):
    """The normalizer; a slot gets new reciprocals when the query block in it is done.

    Half of the time a reciprocal comes only when the unit has asked for nothing for a while, and so
    waits for it. Words come one cycle after they are asked for, or later.
    """

    phase_bits, pause = 8, 24

    gated = ("recip", "data")

    def __init__(self, *, parameters):
        super().__init__(part=Normalizer, parameters=parameters)

    def is_open(self, m, name, payload, moves):
        if name == "data":
            read = self.unit.read
            wanted = Signal()
            with m.If(read.valid & read.ready):
                m.d.sync += wanted.eq(1)
            with m.Elif(moves):
                m.d.sync += wanted.eq(0)
            return wanted
        done, tag = self.unit.done, payload.tag
        busy = Signal(1 << len(tag.slot))
        starts = tag.row == 0
        with m.If(done.valid):
            m.d.sync += busy.bit_select(done.payload.slot, 1).eq(0)
        with m.If(moves & starts):
            m.d.sync += busy.bit_select(tag.slot, 1).eq(1)
        phase, rest = Signal(self.phase_bits), Signal(range(self.pause + 1))
        m.d.sync += phase.eq(phase + 1)
        with m.If((self.unit.read.valid & self.unit.read.ready) | moves):
            m.d.sync += rest.eq(self.pause)
        with m.Elif(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        return (~starts | ~busy.bit_select(tag.slot, 1)) & (~phase[-1] | (rest == 0))


class LoadedQueries(Component):
    """The query buffer, and a reader that frees a slot when it has read enough of it.

    Parameters
    ----------
    size, block_rows, head_dim, slots : int
        As of :class:`~qkloom.rtl.lane.query.QueryBuffer`.

    Members
    -------
    load, i, loaded : stream
        Those of the query buffer.
    read : In(stream)
        ``address`` in the slot that was loaded first; ``last``: free it.
    o : Out(stream)
        Rows read.
    """

    def __init__(self, *, size, block_rows, head_dim, slots):
        self._slots = slots
        self.unit = QueryBuffer(size=size, block_rows=block_rows, head_dim=head_dim, slots=slots)
        members, port = self.unit.signature.members, self.unit.r
        read = data.StructLayout({"address": len(port.address), "last": 1})
        super().__init__(
            {
                **{name: members[name] for name in ("load", "i", "loaded")},
                "read": In(stream.Signature(read)),
                "o": _always(port.data.shape()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        connect_stream(m, wiring.flipped(self.load), unit.load)
        connect_stream(m, wiring.flipped(self.i), unit.i)
        connect_stream(m, unit.loaded, wiring.flipped(self.loaded))
        slot = unit.loaded.payload.shape()
        m.submodules.loaded = loaded = Queue(shape=slot, depth=self._slots)
        frees = Signal()
        m.d.comb += [
            loaded.i.valid.eq(unit.loaded.valid),
            loaded.i.payload.eq(unit.loaded.payload),
            self.read.ready.eq(loaded.o.valid),
            frees.eq(unit.r.en & self.read.payload.last),
            loaded.o.ready.eq(frees),
            unit.r.en.eq(self.read.valid & loaded.o.valid),
            unit.r.bank.eq(loaded.o.payload.slot),
            unit.r.address.eq(self.read.payload.address),
            unit.freed.valid.eq(frees),
            unit.freed.payload.eq(loaded.o.payload),
            self.o.payload.eq(unit.r.data),
        ]
        m.d.sync += self.o.valid.eq(unit.r.en)
        return m


class CreditLoop(Component):
    """The picture in the description of the credit gate: gate, pipeline, queue, and back.

    Parameters
    ----------
    width, credits, cycles : int
        Bits of the payload, credits, and cycles of the pipeline.

    Members
    -------
    i, o : stream
        Items in and out.
    held : Out(stream)
        Credits held, in every cycle.
    """

    def __init__(self, *, width, credits, cycles):
        self._cycles, self._credits, self._width = cycles, credits, width
        self.unit = CreditGate(shape=width, credits=credits)
        always = stream.Signature(range(credits + 1), always_ready=True, always_valid=True)
        items = stream.Signature(width)
        super().__init__({"i": In(items), "o": Out(items), "held": Out(always)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.queue = queue = Queue(shape=self._width, depth=self._credits)
        connect_stream(m, wiring.flipped(self.i), unit.i)
        connect_stream(m, queue.o, wiring.flipped(self.o))
        valids = Signal(self._cycles)
        m.d.sync += valids.eq(Cat(unit.o.valid, valids))
        m.d.comb += [
            unit.o.ready.eq(1),
            queue.i.valid.eq(valids[-1]),
            queue.i.payload.eq(delayed(m, unit.o.payload, self._cycles, name="pipeline")),
            unit.returned.eq(self.o.valid & self.o.ready),
            self.held.payload.eq(unit.held),
        ]
        return m


class Line(Component):
    """An end of a line between dies, and the least that the other end can be.

    Registers at lines are one module: with both ends here, what is wrong in one would be put right
    in the other.

    Parameters
    ----------
    part : type
        :class:`LineSender` or :class:`LineReceiver`.
    shape : shape-like
        Shape of the items.

    Members
    -------
    i, o : stream
        Items in and out.
    """

    def __init__(self, *, part, shape):
        self.unit, self._shape = part(shape=shape), shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        line = unit.line
        if isinstance(unit, LineSender):
            m.submodules.queue = queue = Queue(shape=self._shape, depth=CREDITS)
            connect_stream(m, wiring.flipped(self.i), unit.i)
            connect_stream(m, queue.o, wiring.flipped(self.o))
            m.d.comb += [
                queue.i.valid.eq(line.valid),
                queue.i.payload.eq(line.payload),
                line.credit.eq(self.o.valid & self.o.ready),
            ]
        else:
            m.submodules.gate = gate = CreditGate(shape=self._shape, credits=CREDITS)
            connect_stream(m, wiring.flipped(self.i), gate.i)
            connect_stream(m, unit.o, wiring.flipped(self.o))
            m.d.comb += [
                line.valid.eq(gate.o.valid),
                line.payload.eq(gate.o.payload),
                gate.o.ready.eq(1),
                gate.returned.eq(line.credit),
            ]
        return m


def _unless_constant(target, value):
    return [] if isinstance(Value.cast(target), Const) else [target.eq(value)]


def _always(shape):
    return Out(stream.Signature(shape, always_ready=True))


def _is_stream(member):
    return member.is_signature and stream.Signature in (
        type(member.signature),
        type(member.signature.flip()),
    )


def _inputs(unit):
    """Return name, shape and value of each input; what is always ready is none."""
    return [
        ("__".join(map(str, path)), member.shape, value)
        for path, member, value in unit.signature.flatten(unit)
        if member.flow == In and not isinstance(Value.cast(value), Const)
    ]


def _fields(port, flow):
    """Return the shapes of a memory port's inputs to the unit, or outputs of it; without ``en``."""
    return {
        path[0]: member.shape
        for path, member, _ in port.signature.flatten(port)
        if member.flow == flow and path != ("en",)
    }


def _joined(port, payload):
    """Return the bits of those members of a memory port that a payload has."""
    return Cat(Value.cast(getattr(port, name)) for name in payload.shape().members)


def _at(array, index):
    for i in index:
        array = array[i]
    return array
