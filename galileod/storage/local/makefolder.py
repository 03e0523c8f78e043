"""Creating a folder with its full permissions, whatever the umask of the process."""

import ctypes
import os
import threading
from typing import Final

_CLONE_FS: Final = 0x200

_unshare = getattr(ctypes.CDLL(None), "unshare", None)


def make_folder(parent_fd: int, name: str, mode: int) -> bool:
    """Create a folder with `mode`; returns False if the name exists. Blocks; raises OSError.

    It inherits group, setgid and ACL from its parent. A chmod afterwards could remove them: only a
    member of the group may keep setgid, and the systemd unit forbids chmod to set it.
    """
    made: list[bool | OSError] = []
    # The umask belongs to all threads that share their filesystem state; this one has its own.
    maker = threading.Thread(target=lambda: made.append(_make(parent_fd, name, mode)))
    maker.start()
    maker.join()
    (result,) = made
    if isinstance(result, OSError):
        raise result
    return result


def _make(parent_fd: int, name: str, mode: int) -> bool | OSError:
    try:
        # A container may forbid this; the umask then limits the permissions.
        if _unshare is not None and _unshare(_CLONE_FS) == 0:
            os.umask(0)
        os.mkdir(name, mode, dir_fd=parent_fd)
    except FileExistsError:
        return False
    except OSError as error:
        return error
    return True
