"""Exact models of the buffers on chip."""
