"""Exact models of the units in a lane: NumPy int64, the same bits as the hardware."""
