"""`python -m galileod`."""

from galileod.cli.daemon import main

main()
