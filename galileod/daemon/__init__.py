"""From a configuration to a running service: sockets, signals, reload, systemd.

Knows nothing of the protocol.
"""
