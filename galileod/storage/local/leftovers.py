"""Names that a complete file has for a moment in its folder, before it replaces another file.

After a crash such a file is removed at the next start: its upload was not confirmed.
"""

import re
from typing import Final

# No client can choose such a name: a dot at the start of a name is replaced (policy.names).
_PREFIX: Final = ".galileod-replacing-"
_LEFTOVER: Final = re.compile(re.escape(_PREFIX) + "[0-9a-z]{1,32}")


def temporary_name(upload: str) -> str:
    """The name for the file of `upload`."""
    return _PREFIX + upload


def is_leftover(name: str) -> bool:
    """Whether `name` was made by `temporary_name`."""
    return _LEFTOVER.fullmatch(name) is not None
