"""The sending side of GalileoSend: `receipt = await send_file(url, path)`."""

from .api import send_file, send_file_sync
from .errors import (
    AddressError,
    ConnectError,
    LostError,
    NonsenseError,
    OptionError,
    RefusedError,
    SendError,
    SourceError,
    UpgradeError,
)
from .rate import SharedPace
from .values import Options, Progress, Receipt

__all__ = [
    "AddressError",
    "ConnectError",
    "LostError",
    "NonsenseError",
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
]
