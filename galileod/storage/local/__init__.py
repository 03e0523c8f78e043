"""The store on a local filesystem.

A file is written to `.galileod/spool/`, made durable there, and linked into the directory under
its name; the link is made durable too. All names are opened relative to directory descriptors, and
symbolic links are never followed.
"""

from .store import LocalStore

__all__ = ["LocalStore"]
