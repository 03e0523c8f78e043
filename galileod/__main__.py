"""`python -m galileod`."""

from galileod.cli.main import main

main()
