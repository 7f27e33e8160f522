"""Scripts for Vivado: place and route out of context, and simulation of sources and netlist."""

from .scripts import SLRS, floorplan_xdc, spread_over_slrs, vivado_files

__all__ = ["SLRS", "floorplan_xdc", "spread_over_slrs", "vivado_files"]
