"""Caches of KV blocks that know what will be used: slots for decode, and the order of loads."""
