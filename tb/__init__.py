"""References, exact models, engines and data."""
