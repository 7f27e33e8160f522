"""Memories behind AXI, for the Amaranth simulator."""
