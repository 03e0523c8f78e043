"""The cases: one module for each section and role."""

from galileod.conformance.cases import client_end, server_credits, server_errors

__all__ = ["client_end", "server_credits", "server_errors"]
