"""Decisions as pure code: what is granted, refused, delayed or named. No clock, no I/O."""
