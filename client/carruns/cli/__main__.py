"""``python -m carruns.cli``: the same as ``carruns``."""

from carruns.cli import main

main()
