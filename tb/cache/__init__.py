"""Exact models of caches of KV blocks."""
