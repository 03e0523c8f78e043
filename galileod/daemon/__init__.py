"""Runs the service: preparation, listeners, signals, reload, systemd.

Does not import `protocol`.
"""
