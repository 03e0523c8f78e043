"""Unix sockets whose path is too long for one, and who is at the other end."""

import os
import socket
from pathlib import Path

import pytest
import trio

from galileod.net.addresses import MAX_UNIX_PATH
from galileod.net.unixsocket import short_path, user_of_peer

pytestmark = pytest.mark.timeout(20)


def test_a_path_that_fits_stays_as_it_is() -> None:
    path = "/" + "a" * (MAX_UNIX_PATH - 1)
    with short_path(path) as short:
        assert short == path


@pytest.mark.parametrize("name", ["d" * 120, "\xe4" * 60])
def test_a_longer_one_can_be_bound_and_connected_to(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as connecting:
        with short_path(str(path)) as short:
            assert len(os.fsencode(short)) <= MAX_UNIX_PATH
            listening.bind(short)
        listening.listen()
        assert path.is_socket()
        before = len(os.listdir("/proc/self/fd"))
        with short_path(str(path)) as short:
            connecting.connect(short)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), short_path(str(tmp_path / ("x" * 120) / "y")):
        pass


async def test_the_user_of_a_peer_is_that_of_its_process() -> None:
    near, far = trio.socket.socketpair()
    with near, far:
        assert user_of_peer(trio.SocketStream(near)) == os.geteuid()
