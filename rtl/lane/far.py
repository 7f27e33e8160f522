"""A lane on another die: lines in place of its streams."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..stream import connect_stream
from ..stream.crossing import LineReceiver, LineSender, line_signature
from .lane import Lane, lane_payloads

__all__ = ["FarLane"]


class FarLane(Component):
    """A lane with a receiver before each of its inputs, and a sender behind its outputs.

    What is in here is placed on one die; who feeds it has the other ends of the lines.

    Parameters
    ----------
    matrix, size, block_rows, head_dim, ... : as of :class:`~qkloom.rtl.lane.lane.Lane`

    Members
    -------
    i_job, i_query, i_key, i_value : In(line_signature)
        The lane's inputs.
    o, o_mass : Out(line_signature)
        Its outputs, and with ``index_tokens`` its masses.

    Raises
    ------
    TypeError, ValueError
        As a lane says.
    """

    def __init__(
        self,
        *,
        matrix: str = "plain",
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        row_width: int,
        out_width: int,
        memory: str = "auto",
        slots: int = 2,
        stream_width: int = 8,
        stationary_width: int = 8,
        runtime_precision: bool = False,
        gemm: bool = False,
        index_tokens: int = 0,
        index_memory: str = "auto",
        kv_blocks: int = 0,
    ) -> None:
        self._shapes = lane_payloads(**self.parameters)
        super().__init__(
            {
                name: (In if name.startswith("i_") else Out)(line_signature(shape))
                for name, shape in self._shapes.items()
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the lane to the ends of its lines."""
        m = Module()
        m.submodules.lane = lane = Lane(**self.parameters)
        for name, shape in self._shapes.items():
            if not name.startswith("i_"):
                m.submodules[name] = sender = LineSender(shape=shape)
                connect_stream(m, getattr(lane, name), sender.i)
                wiring.connect(m, sender.line, wiring.flipped(getattr(self, name)))
            else:
                m.submodules[name] = receiver = LineReceiver(shape=shape)
                wiring.connect(m, wiring.flipped(getattr(self, name)), receiver.line)
                connect_stream(m, receiver.o, getattr(lane, name))
        return m
