"""Models of the cache of KV blocks: what is visited, what is kept, and what could be at best."""
