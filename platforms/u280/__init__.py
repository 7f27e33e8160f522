"""The Alveo U280 as a board of its own, without Vitis' shell: for Amaranth's build system."""

from .platform import AlveoU280Platform

__all__ = ["AlveoU280Platform"]
