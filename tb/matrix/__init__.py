"""Exact models of the systolic arrays, and matrix products as streams."""
