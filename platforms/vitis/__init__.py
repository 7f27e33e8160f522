"""Packages for Vitis: a kernel object out of the generated Verilog, and how to link it."""

from .package import KERNEL_VERSION, kernel_xml, link_config, package_script, vitis_files

__all__ = ["KERNEL_VERSION", "kernel_xml", "link_config", "package_script", "vitis_files"]
