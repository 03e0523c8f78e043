"""The program `galileo-send`: flags, progress, retries, exit status.

The library never imports it.
"""
