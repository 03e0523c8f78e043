"""From a configuration to a running service: preparation, listeners, signals, reload, systemd.

Must not know anything of the protocol.
"""
