"""Attention of a real text on a device: ``python -m qkloom.platforms.host.example sim FOLDER``.

The same program runs on a card: ``... xrt XCLBIN``. It takes a few heads and tokens of the tensors
that come with the package, quantizes them, has the device compute, and compares with the exact
model, bit by bit, and with attention in float64. The exit code is 1 when a bit differs, and 2 when
there is no answer to compare.
"""

import argparse
import sys
from collections.abc import Sequence

from ...tb.attention import attention as reference
from ...tb.attention import compare
from ...tb.errors import CallError, InputError, ToolError
from ...tb.exact import exact_attention
from ...tb.quantize import quantize
from ...tb.tensors import default_tensors
from .attention import attention, kernel_numerics
from .device import Device
from .errors import DeviceError, LaunchTimeoutError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code."""
    given = _parse(arguments)
    try:
        with Device.open(given.platform, given.path) as device:
            return _run(device, given)
    except (InputError, ToolError, DeviceError, CallError, LaunchTimeoutError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(device: Device, given: argparse.Namespace) -> int:
    kernel = device.kernel
    numerics = kernel_numerics(kernel)
    tensors = default_tensors().take_heads(0, given.heads).take_tokens(given.tokens)
    q, k, v = (x[..., : numerics.head_dim] for x in tensors)
    operands = quantize(q, k, v, numerics)
    output, status = attention(
        device,
        operands.q,
        operands.k,
        operands.v,
        operands.mantissa,
        operands.shift,
        causal=True,
        timeout=given.timeout,
    )
    expected = exact_attention(
        operands.q,
        operands.k,
        operands.v,
        operands.mantissa,
        operands.shift,
        numerics,
        block_rows=kernel.parameters["block_rows"],
        causal=True,
    )
    n_differing = int((output != expected).sum())
    values = operands.dequantize(output)
    same = compare(values, reference(*operands.floats(), causal=True))
    raw = compare(values, reference(q, k, v, causal=True))
    for name, value in {
        "device": device.name,
        "heads x tokens x head_dim": " x ".join(map(str, q.shape)),
        "cycles": "not known" if status.cycles is None else f"{status.cycles:,}",
        "bit exact": f"no, {n_differing:,} outputs differ" if n_differing else "yes",
        "error, of the same integers": f"{same.rms_relative:.1e} rms, {same.max_abs:.1e} at most",
        "error, of the tensors": f"{raw.rms_relative:.1e} rms, {raw.max_abs:.1e} at most",
    }.items():
        print(f"{name:<28}  {value}")
    return 1 if n_differing else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m qkloom.platforms.host.example",
        description="Attention of a real text, on a device and in NumPy.",
    )
    parser.add_argument("platform", choices=("sim", "xrt"), help="simulation, or a card")
    parser.add_argument("path", help="the generated folder (sim), or the .xclbin (xrt)")
    parser.add_argument("--heads", type=int, default=2, help="heads (default: 2)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens (default: 32)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds to wait (default: 600)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
