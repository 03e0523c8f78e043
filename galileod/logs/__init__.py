"""The log: events, warnings and uncaught exceptions, in one format.

Of galileod it imports only `policy`. Contains no rules about uploads.
"""
