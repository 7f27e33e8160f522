"""What makes a Vitis kernel out of the generated Verilog: description, script, connections."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ...rtl.control import Register
from ..template import check_name, fill, tcl_list

__all__ = [
    "CONTROL",
    "KERNEL_VERSION",
    "LIBRARY",
    "VENDOR",
    "kernel_xml",
    "link_config",
    "package_script",
    "vitis_files",
]

VENDOR, LIBRARY, KERNEL_VERSION = "qkloom", "kernel", "1.0"
"""Name of the packaged IP, beside the kernel's: ``vendor:library:name:version``."""

CONTROL = "s_axi_control"
"""The AXI4-Lite port; UG1393 asks for this very name."""

_SCALAR, _GLOBAL = "0", "1"  # addressQualifier, UG1393, RTL Kernel XML File


def vitis_files(
    *,
    top: str,
    sources: Sequence[str],
    arguments: Iterable[Register],
    ports: Mapping[str, str],
    channels: Mapping[str, str],
    data_width: int,
    clock_mhz: float,
    part: str = "xcu280-fsvh2892-2L-e",
    slr: str | None = None,
    address_width: int = 12,
) -> dict[str, str]:
    """Return the files of a Vitis package by path, all in ``vitis/``.

    Parameters
    ----------
    top : str
        Name of the top module, which is the kernel's.
    sources : sequence of str
        Verilog files, from the folder above ``vitis``.
    arguments : iterable of Register
        What a call is told, by address; those of 64 bits are addresses in memory.
    ports : mapping
        AXI4 port (``m00_axi``) of each argument that is an address.
    channels : mapping
        Memory channels (``HBM[0]``, ``HBM[0:3]``) of each AXI4 port.
    data_width : int
        Bits of a beat of these ports.
    clock_mhz : float
        Clock frequency to ask for.
    part : str
        The device.
    slr : str, optional
        The die to which the whole kernel is bound; it may be spread over all unless given.
    address_width : int
        Bits of an address of registers.

    Raises
    ------
    ValueError
        When an address has no port, a port no channel, or a name is none.
    """
    listed = sorted(arguments, key=lambda register: register.offset)
    check_name("Kernel name", top)
    pointers = [register.name for register in listed if register.width == 64]
    if sorted(ports) != sorted(pointers):
        raise ValueError(
            f"Ports must be of the addresses {', '.join(pointers)}, not of {', '.join(ports)}"
        )
    if sorted(set(ports.values())) != sorted(channels):
        raise ValueError(
            f"Channels must be of the ports {', '.join(sorted(set(ports.values())))}, "
            f"not of {', '.join(channels)}"
        )
    masters = {port: data_width for port in channels}
    return {
        "vitis/kernel.xml": kernel_xml(top, listed, ports, masters, address_width),
        "vitis/package_xo.tcl": package_script(top, sources, listed, ports, masters, part),
        "vitis/link.cfg": link_config(top, channels, clock_mhz, slr),
    }


def kernel_xml(
    top: str,
    arguments: Iterable[Register],
    ports: Mapping[str, str],
    masters: Mapping[str, int],
    address_width: int,
) -> str:
    """Return the description of a kernel as Vitis reads it (UG1393, RTL Kernel XML File).

    The protocol stands here, in ``hwControlProtocol``: where ``package_xo`` is handed a
    description, it takes it from there (XD099, Manually Creating the Kernel XML File).
    """
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<root versionMajor="1" versionMinor="6">',
        "  <kernel "
        + _attributes(
            name=top,
            language="ip_c",
            vlnv=f"{VENDOR}:{LIBRARY}:{top}:{KERNEL_VERSION}",
            attributes="",
            preferredWorkGroupSizeMultiple="0",
            workGroupSize="1",
            interrupt="true",
            hwControlProtocol="ap_ctrl_chain",
        )
        + ">",
        "    <ports>",
        _port(CONTROL, "slave", 1 << address_width, 32),
        *(_port(name, "master", (1 << 64) - 1, width) for name, width in masters.items()),
        "    </ports>",
        "    <args>",
    ]
    for number, register in enumerate(arguments):
        is_pointer = register.width == 64
        what = _attributes(
            name=register.name,
            addressQualifier=_GLOBAL if is_pointer else _SCALAR,
            id=str(number),
            port=ports[register.name] if is_pointer else CONTROL,
            size=f"{register.n_bytes:#x}",
            offset=f"{register.offset:#x}",
            hostOffset="0x0",
            hostSize=f"{register.n_bytes:#x}",
            type="void*" if is_pointer else "int" if register.is_signed else "uint",
        )
        lines.append(f"      <arg {what}/>")
    return "\n".join([*lines, "    </args>", "  </kernel>", "</root>", ""])


def package_script(
    top: str,
    sources: Iterable[str],
    arguments: Iterable[Register],
    ports: Mapping[str, str],
    masters: Iterable[str],
    part: str,
) -> str:
    """Return the Tcl script that packages the IP and makes the kernel object of it."""
    rows = [
        f"{register.name}/{register.offset:#x}/{register.width}/{ports.get(register.name, '-')}"
        for register in arguments
    ]
    return fill(
        Path(__file__).parent / "package_xo.tcl",
        top=top,
        part=part,
        sources=tcl_list(sources),
        masters=tcl_list(masters),
        arguments=tcl_list(rows),
        vendor=VENDOR,
        library=LIBRARY,
        version=KERNEL_VERSION,
    )


def link_config(
    top: str, channels: Mapping[str, str], clock_mhz: float, slr: str | None = None
) -> str:
    """Return the configuration for ``v++ --link`` (UG1393, --connectivity Options)."""
    unit = f"{top}_1"
    lines = [
        f"# v++ --link --target hw --platform PLATFORM --config link.cfg {top}.xo -o {top}.xclbin",
        f"kernel_frequency={round(clock_mhz)}",
        "",
        "[connectivity]",
        f"nk={top}:1:{unit}",
        *([] if slr is None else [f"slr={unit}:{slr}"]),
        *(f"sp={unit}.{port}:{channel}" for port, channel in channels.items()),
    ]
    return "\n".join([*lines, ""])


def _port(name: str, mode: str, reach: int, width: int) -> str:
    what = _attributes(
        name=name,
        mode=mode,
        range=f"0x{reach:X}",
        dataWidth=str(width),
        portType="addressable",
        base="0x0",
    )
    return f"      <port {what}/>"


def _attributes(**values: str) -> str:
    return " ".join(f"{name}={quoteattr(value)}" for name, value in values.items())
