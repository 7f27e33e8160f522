"""Stream parts, each proven once: what they cut, delay and cost stands in their tables."""

from .connect import connect_stream, payload_shape
from .queue import Queue
from .slice import RegisterSlice

__all__ = ["Queue", "RegisterSlice", "connect_stream", "payload_shape"]
