"""What is opened for an address of `server.listen`, and whose file is removed at the end."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from galileod.daemon.listeners import ListenError, Listeners, open_listeners
from galileod.net.addresses import TcpAddress, UnixAddress

NO_ADDRESS_OF_THIS_MACHINE = "203.0.113.1"

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize(
    ("meanwhile", "is_there", "events"),
    [
        ("nothing", False, []),
        ("removed", False, ["server.leftover"]),
        ("replaced", True, []),
    ],
)
async def test_its_own_file_is_removed_and_no_other(
    run_folder: Path, meanwhile: str, is_there: bool, events: list[str]
) -> None:
    path = run_folder / "galileod.sock"
    with socket.socket(socket.AF_UNIX) as other, capture_logs() as logs:
        listeners = await open_listeners([UnixAddress(str(path))])
        if meanwhile != "nothing":
            path.unlink()
        if meanwhile == "replaced":
            other.bind(str(path))
        listeners.remove()
        for listener in listeners.own:
            await listener.socket.aclose()
    assert path.exists() is is_there
    assert [line["event"] for line in logs] == events


class Resolver(trio.abc.HostnameResolver):
    """Gives all names the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401, ARG002
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in self._addresses
        ]

    async def getnameinfo(self, *_: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError


async def opened(*addresses: str, port: int = 0) -> Listeners:
    trio.socket.set_custom_hostname_resolver(Resolver(*addresses))
    return await open_listeners([TcpAddress("name.example", port)])


async def close(listeners: Listeners) -> None:
    for listener in listeners.own:
        await listener.socket.aclose()


async def test_of_a_name_the_addresses_that_exist_are_enough() -> None:
    with capture_logs() as logs:
        listeners = await opened(NO_ADDRESS_OF_THIS_MACHINE, "127.0.0.1")
    (name,) = listeners.names
    assert name.startswith("127.0.0.1:")
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("server.address_missing", "info")
    assert (line["host"], line["address"]) == ("name.example", NO_ADDRESS_OF_THIS_MACHINE)
    assert line["reason"] == os.strerror(errno.EADDRNOTAVAIL)
    await close(listeners)


async def test_an_address_that_is_found_twice_is_opened_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listeners = await opened("127.0.0.1", "127.0.0.1", port=port)
    assert listeners.names == [f"127.0.0.1:{port}"]
    await close(listeners)


async def test_without_any_of_them_it_is_an_error() -> None:
    with capture_logs() as logs, pytest.raises(ListenError) as failed:
        await opened(NO_ADDRESS_OF_THIS_MACHINE, "198.51.100.1")
    assert str(failed.value) == (
        f"cannot listen on name.example:0: {os.strerror(errno.EADDRNOTAVAIL)}"
    )
    assert not logs


async def test_an_interface_that_is_not_there_is_told() -> None:
    with pytest.raises(ListenError) as failed:
        await open_listeners([TcpAddress("fe80::1%none", 0)])
    assert str(failed.value) == (
        "cannot listen on [fe80::1%none]:0: the address is not link-local, or its zone names no"
        " network interface of this machine"
    )


async def test_one_that_is_in_use_is_an_error_although_another_could_be_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=os.strerror(errno.EADDRINUSE)):
            await opened("127.0.0.2", "127.0.0.1", port=port)


@contextmanager
def masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
async def test_the_umask_does_not_change_who_may_connect(run_folder: Path, mask: int) -> None:
    path = run_folder / "galileod.sock"
    with masked(mask):
        listeners = await open_listeners([UnixAddress(str(path))])
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    listeners.remove()
    await close(listeners)
