"""The arguments of `send_file` and `send_file_sync`, and where each may be called."""

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from helpers.clients import unique_name
from helpers.daemon import DEADLINE, Daemon
from helpers.receivers import PerlReceiver
from helpers.sending import parts

from galileod.client import (
    OptionError,
    send_file,
    send_file_sync,
)

T = TypeVar("T")


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"a"


async def test_arguments_that_cannot_be_are_one_kind_of_error(server: Daemon) -> None:
    for wrong in (
        send_file(server.url, b"no name"),
        send_file(server.url, parts(), name="no size"),
        send_file(server.url, b"", name="a", hash="md17"),
        send_file(server.url, b"", name="a", hash="shake_128"),
        send_file(server.url, b"", name="a", chunksize=0),
        send_file(server.url, b"", name="a", timeout=0),
        send_file(server.url, b"", name="a", token="two\nlines"),  # noqa: S106
        send_file("gopher://x", b"", name="a"),
    ):
        with pytest.raises(OptionError):
            await wrong
    for token in ("", " ", "two\nlines", "s3cret ", " s3cret", "s3cr\u00e9t"):
        with pytest.raises(OptionError, match="one line of printable") as wrong_token:
            await send_file(server.url, b"", name="a", token=token)
        assert "s3cr" not in str(wrong_token.value)
    with pytest.raises(ValueError, match="chunksize"):
        await send_file(server.url, b"", name="a", chunksize=-1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "url": ({"url": 5}, "The URL must be a string, not 5."),
    "content": ({"content": 5}, "An int cannot be sent. Expected a path, bytes, an open"),
    "a list": ({"content": [b"x"]}, "A list cannot be sent."),
    "a path of bytes": ({"content": BytesPath()}, "A path must be a string"),
    "a text": ({"content": io.StringIO("x")}, 'open in text mode. Open it with "rb"'),
    "name": ({"name": 5}, "The name must be a string, not 5."),
    "size": ({"size": "4"}, "The size must be a number of bytes, not '4'."),
    "a size below 0": ({"size": -1}, "The size must be a number of bytes, not -1."),
    "timeout": ({"timeout": "60s"}, "a number of seconds above 0, not '60s'."),
    "no timeout": ({"timeout": None}, "a number of seconds above 0, not None."),
    "chunksize": ({"chunksize": 1.5}, "from 1 to 1073741824 bytes, not 1.5."),
    "pace": ({"pace": 1000}, "like SharedPace"),
    "token": ({"token": 5}, "The token must be one line"),
    "ca": ({"ca": 5}, "ca must be the path of a PEM file, not 5."),
    "hash": ({"hash": 5}, "Unknown hash 5. Expected sha1, sha256, sha512, blake2b or none."),
    "on_warning": ({"on_warning": 5}, "on_warning must be a function, not 5."),
    "on_progress": ({"on_progress": 5}, "on_progress must be a function, not 5."),
}


@pytest.mark.parametrize("case", WRONG)
async def test_an_argument_of_a_wrong_type_is_a_sentence(perl: PerlReceiver, case: str) -> None:
    given, sentence = WRONG[case]
    with pytest.raises(OptionError) as wrong:
        await send_file(**{"url": perl.url, "content": b"data", "name": "a", **given})
    assert sentence in str(wrong.value)


@pytest.mark.parametrize("kind", ["none", "NONE", None])
async def test_none_is_no_hash(perl: PerlReceiver, kind: str | None) -> None:
    assert (await send_file(perl.url, b"data", name="a", hash=kind)).hashes == {}


async def test_a_hash_may_be_written_in_upper_case(perl: PerlReceiver) -> None:
    receipt = await send_file(perl.url, b"data", name="a", hash="SHA256")
    assert list(receipt.hashes) == ["sha256"]


async def test_the_blocking_twin_in_trio_names_the_other() -> None:
    with pytest.raises(OptionError, match="await send_file"):
        send_file_sync("ws://h/", b"data", name="a")


def run_asyncio(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it in a thread of its own: that of the tests may have a loop, of a browser's driver."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(main())).result(DEADLINE)


def test_outside_of_trio_the_blocking_twin_is_named() -> None:
    with pytest.raises(OptionError, match=r"asyncio.to_thread\(send_file_sync, "):
        run_asyncio(partial(send_file, "ws://h/", b"data", name="a"))


def test_from_asyncio_the_blocking_twin_is_called_in_a_thread(perl: PerlReceiver) -> None:
    main = partial(asyncio.to_thread, send_file_sync, perl.url, b"data", name="a")
    assert run_asyncio(main).size == 4


def test_the_blocking_twin_works_in_any_thread(server: Daemon) -> None:
    name, done = unique_name(), list[str]()

    def send() -> None:
        done.append(send_file_sync(server.url, b"content", name=name).name)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join()
    assert done == [name]


def test_the_blocking_twin_works_in_a_plain_program(server: Daemon, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    path = tmp_path / unique_name()
    path.write_bytes(b"content")
    program.write_text(
        "import sys\n"
        "from galileod.client import SendError, send_file_sync\n"
        "try:\n"
        "    print(send_file_sync(sys.argv[1], sys.argv[2], on_progress=print).size)\n"
        "except SendError as error:\n"
        "    sys.exit(str(error))\n"
    )
    run: list[str | Path] = [sys.executable, program]
    done = subprocess.run([*run, server.url, path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "7", done.stderr
    failed = subprocess.run(
        [*run, server.url, tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert "No such file" in failed.stderr
    assert "Traceback" not in failed.stderr
