"""`python -m galileod`."""

from .cli import main

main()
