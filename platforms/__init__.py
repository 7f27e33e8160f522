"""Targets: primitives, memories, constraints and packaging."""
