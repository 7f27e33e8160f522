"""Synthesizable components and their checked parameters."""
