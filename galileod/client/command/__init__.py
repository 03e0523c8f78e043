"""The program `galileo-send`: flags, reports, retries, exit status.

The library never imports it.
"""
