"""Models of caches of KV blocks: what is visited and kept, at best; what decode loads."""
