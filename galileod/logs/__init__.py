"""The log: events, warnings and uncaught exceptions, in one format.

Of galileod it imports only `policy` and `units`. Contains no rules about uploads.
"""
