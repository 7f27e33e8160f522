"""Which KV blocks matter: the published rules, in NumPy, that index units are measured against."""
