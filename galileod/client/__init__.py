"""A GalileoSend client: `receipt = await send_file(url, path)`.

It shares the protocol, the clock, the masking and the units with the daemon, and imports nothing
else from it. The program `galileo-send` is in `command`, which the library never imports.
"""

from .api import send_file, send_file_sync
from .api_many import File, FileResult, send_files, send_files_sync
from .errors import (
    AddressError,
    ConnectError,
    LostError,
    NonsenseError,
    NotAskedError,
    OptionError,
    RefusedError,
    SendError,
    SourceError,
    UpgradeError,
)
from .options import Options, Progress, Receipt
from .rate_limit import SharedPace

__all__ = [
    "AddressError",
    "ConnectError",
    "File",
    "FileResult",
    "LostError",
    "NonsenseError",
    "NotAskedError",
    "OptionError",
    "Options",
    "Progress",
    "Receipt",
    "RefusedError",
    "SendError",
    "SharedPace",
    "SourceError",
    "UpgradeError",
    "send_file",
    "send_file_sync",
    "send_files",
    "send_files_sync",
]
