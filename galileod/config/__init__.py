"""Reads and checks the configuration file. Opens no other file and no socket."""
