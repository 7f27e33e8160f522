"""What goes wrong on a bus is remembered."""

from typing import Any

from amaranth.hdl import Module, Value

__all__ = ["keep_first_error"]


def keep_first_error(m: Module, failed: Any, answers: Any) -> None:
    """Keep in ``failed`` the first response of the stream ``answers`` that is an error.

    Errors are the responses with the upper bit set (IHI 0022, A3.4.4).
    """
    resp = answers.payload.resp
    with m.If(answers.valid & answers.ready & Value.cast(resp)[1] & ~Value.cast(failed)[1]):
        m.d.sync += failed.eq(resp)
