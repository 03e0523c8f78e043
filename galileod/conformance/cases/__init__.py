"""The cases: one module for each section and role."""

from galileod.conformance.cases import (
    client_end,
    client_resume_agreement,
    client_resume_end,
    client_resume_offset,
    server_credits,
    server_end,
    server_errors,
    server_hashes,
    server_metadata,
    server_resume_agreement,
    server_resume_claims,
    server_resume_kept,
    server_resume_key,
    server_resume_offset,
    server_signals,
)

__all__ = [
    "client_end",
    "client_resume_agreement",
    "client_resume_end",
    "client_resume_offset",
    "server_credits",
    "server_end",
    "server_errors",
    "server_hashes",
    "server_metadata",
    "server_resume_agreement",
    "server_resume_claims",
    "server_resume_kept",
    "server_resume_key",
    "server_resume_offset",
    "server_signals",
]
