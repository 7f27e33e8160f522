"""Exact models of :mod:`qkloom.rtl.adder`."""
