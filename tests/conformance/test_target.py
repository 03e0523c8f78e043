import os
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from helpers.conformance import DEADLINE, listening, target, upgraded

from galileod.conformance import target as target_module
from galileod.conformance.commands import MAX_OUTPUT, run, running, split
from galileod.conformance.judge import KitError
from galileod.conformance.target import Command, Directory, Target


async def test_a_stored_file_is_read_from_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"content")
    directory = Directory(tmp_path)
    assert await directory.read("a.bin") == b"content"
    assert await directory.read("b.bin") is None


async def test_what_is_no_file_is_an_error_and_no_wait(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with trio.fail_after(DEADLINE):
        for name in ("folder", "pipe"):
            with pytest.raises(KitError, match=r"not a regular file|cannot read"):
                await Directory(tmp_path).read(name)


async def test_a_file_that_is_too_large_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_module, "MAX_STORED", 3)
    (tmp_path / "a.bin").write_bytes(b"1234")
    with pytest.raises(KitError, match="more than 3 bytes"):
        await Directory(tmp_path).read("a.bin")
    with pytest.raises(KitError, match="more than 3 bytes"):
        await Command(("cat",)).read(str(tmp_path / "a.bin"))


async def test_a_listing_has_all_files_but_hidden_ones(tmp_path: Path) -> None:
    for path in ("a", "folder/b", ".hidden/c", "folder/.d"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert await Directory(tmp_path).names() == {"a", "folder/b"}


async def test_a_stored_file_is_read_by_a_command(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"content")
    with trio.fail_after(DEADLINE):
        assert await Command(("cat",)).read(str(tmp_path / "a.bin")) == b"content"
        assert await Command(("cat",)).read(str(tmp_path / "b.bin")) is None


def test_what_is_given_is_offered_to_cases(tmp_path: Path) -> None:
    plain = target(1, Command(("cat",)))
    assert plain.offers == set()
    full = Target(plain.address, Directory(tmp_path), ("true",), ("true",), ("a", "b"))
    assert full.offers == {"listing", "restart", "kill", "token", "other_token"}


async def test_after_a_restart_the_server_is_waited_for() -> None:
    starts = trio.Event()

    async def starting(stream: trio.SocketStream) -> None:
        if not starts.is_set():
            starts.set()
            await stream.send_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        else:
            await upgraded(stream)

    with trio.fail_after(DEADLINE):
        async with listening(starting) as port:
            await target(port).run(("true",))
    assert starts.is_set()


async def test_a_server_that_asks_for_credentials_is_up() -> None:
    async def refusing(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    with trio.fail_after(DEADLINE):
        async with listening(refusing) as port:
            await target(port).until_up()


async def test_a_server_that_does_not_come_back_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(target_module, "COMMAND_SECONDS", 0.2)
    async with listening(upgraded) as port:
        pass
    with pytest.raises(KitError, match=r"not up within 0\.2 s: cannot connect"):
        await target(port).until_up()


async def test_a_restart_command_that_fails_is_an_error() -> None:
    with pytest.raises(KitError, match="ended with status 3: no such unit"):
        await target(1).run(("sh", "-c", "echo no such unit; exit 3"))


async def test_a_restart_command_that_fails_in_silence_is_an_error_without_output() -> None:
    with pytest.raises(KitError, match=r"^false ended with status 1$"):
        await target(1).run(("false",))


async def test_a_restart_command_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(target_module, "COMMAND_SECONDS", 0.2)
    with trio.fail_after(DEADLINE), pytest.raises(KitError, match=r"has not ended within 0\.2 s"):
        await target(1).run(("sh", "-c", "sleep 1000; true"))


async def test_a_server_that_a_restart_command_starts_in_the_background_runs_on(
    tmp_path: Path,
) -> None:
    """It may write to what it inherited, too: the command's output is no pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"(read line < {pipe}; echo still here && echo alive > {pipe}) &"
    with trio.fail_after(DEADLINE):
        async with listening(upgraded) as port:
            await target(port).run(("sh", "-c", script))
        await trio.to_thread.run_sync(pipe.write_text, "go on\n", abandon_on_cancel=True)
        read = partial(trio.to_thread.run_sync, pipe.read_text, abandon_on_cancel=True)
        assert await read() == "alive\n"


async def test_a_program_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KitError, match="cannot run 'no-such-program'"):
        await run(["no-such-program"], DEADLINE)


async def test_a_program_that_does_not_end_is_killed() -> None:
    with trio.fail_after(DEADLINE), pytest.raises(KitError, match=r"has not ended within 0\.2 s"):
        await run(["sleep", "1000"], 0.2)


async def test_what_a_program_started_is_killed_with_it(tmp_path: Path) -> None:
    held_open = tmp_path / "pipe"
    os.mkfifo(held_open)
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
    with trio.fail_after(DEADLINE):
        async with running(["sh", "-c", f"sleep 1000 > {held_open} & wait"]):
            pipe = await in_thread(lambda: held_open.open("rb", buffering=0))
        with pipe:
            assert await in_thread(pipe.read) == b""  # the end: nobody can write any more


async def test_the_output_of_a_program_is_bounded() -> None:
    with trio.fail_after(DEADLINE):
        script = "import sys; sys.stdout.write('x' * 1_000_000); sys.stderr.write('end')"
        status, program = await run([sys.executable, "-c", script], DEADLINE)
    assert status == 0
    assert not program.complete
    assert program.content == b"x" * MAX_OUTPUT
    assert program.output.endswith(f"[{1_000_003 - MAX_OUTPUT} more bytes]")


async def test_a_program_has_no_standard_input() -> None:
    with trio.fail_after(DEADLINE):
        status, program = await run(["cat"], DEADLINE)
    assert (status, program.content) == (0, b"")


@pytest.mark.parametrize("command", ["", "  ", "a 'b"])
def test_a_command_without_words_or_with_open_quotes_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        split(command)
