"""Descriptions, emission and the command line."""
