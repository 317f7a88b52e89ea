"""``python -m carruns.cli``: the same as ``carruns``."""

from . import main

main()
