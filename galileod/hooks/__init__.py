"""Telling others of stored files: a command or a URL, from an outbox that survives a crash."""
