"""``python -m qkloom`` is the command ``qkloom``."""

from .gen.cli import main

main()
