"""Which KV blocks matter: units that choose them, and the lists that they hand on."""
