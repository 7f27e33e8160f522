"""Test vectors: what goes into a design, and what the exact model says comes out."""
