"""``python -m aigym_kernel`` is the command ``aigym``."""

from aigym_kernel.cli import main

main()
