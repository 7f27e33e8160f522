"""Where the ports of a ULX3S design are on the board, for nextpnr: a Lattice preference file."""

from typing import Any

from ...tb.errors import ToolError
from .top import CLOCK_HZ

__all__ = ["PINS", "constraints"]

PINS: dict[str, tuple[str, int, str]] = {
    "clk25": ("clk25", 0, ""),
    "restart": ("button_fire", 0, ""),
    "spoil": ("button_fire", 1, ""),
    "led_running": ("led", 0, ""),
    "led_passed": ("led", 1, ""),
    "led_failed": ("led", 2, ""),
    **{f"led_calls[{n}]": ("led", 3 + n, "") for n in range(5)},
    "esp32_gpio0": ("esp32", 0, "gpio0"),
}
"""Resource, number and part of it in amaranth-boards, of each bit of the top's ports."""


def constraints() -> str:
    """Return the preference file; pins and their electrical standard are those of amaranth-boards.

    Amaranth's own build would convert the design a second time. Of the platform only its table of
    pins is taken, so that what is routed is what :mod:`qkloom.gen.emit` has emitted.

    Raises
    ------
    ToolError
        When amaranth-boards is missing.
    """
    try:
        from amaranth_boards.ulx3s import ULX3S_85F_Platform
    except ImportError:
        raise ToolError(
            "The pins of the ULX3S come from amaranth-boards: "
            "`python -m pip install amaranth-boards`"
        ) from None
    platform = ULX3S_85F_Platform()
    lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;"]
    for port, (name, number, part) in PINS.items():
        pin, attributes = _pin(platform.lookup(name, number), part)
        spelt = " ".join(f"{key}={value}" for key, value in attributes.items())
        lines += [f'LOCATE COMP "{port}" SITE "{pin}";', f'IOBUF PORT "{port}" {spelt};']
    lines.append(f'FREQUENCY PORT "clk25" {CLOCK_HZ} HZ;')
    return "\n".join(lines) + "\n"


def _pin(resource: Any, part: str) -> tuple[str, dict[str, str]]:
    """Return the one pin of a resource, or of a part of it, and its attributes."""
    attributes = dict(resource.attrs)
    ios = resource.ios
    if part:
        (chosen,) = (inner for inner in ios if inner.name == part)
        ios = chosen.ios
        attributes |= chosen.attrs
    ((pin,),) = (pins.names for pins in ios)
    return pin, attributes
