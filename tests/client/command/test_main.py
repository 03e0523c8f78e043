"""The command line of `galileo-send`: flags, usage errors, help, completion."""

from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from helpers.clients import some_bytes
from helpers.daemon import Daemon
from helpers.receivers import PerlReceiver
from helpers.sending import Command, Process, files_in, shell

from galileod import __version__
from galileod.client.command.main import cli


def test_the_chunksize_is_for_servers_that_give_none(
    command: Command, perl: PerlReceiver, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(some_bytes(100_000))
    assert command("--chunksize", "10kB", perl.url, tmp_path / "a")[0] == 0
    assert set(perl.files[0].chunks) == {10_000}


def test_no_hash_is_sent_where_none_is_wanted(
    command: Command, perl: PerlReceiver, tmp_path: Path
) -> None:
    (path,) = files_in(tmp_path, "a")
    assert command("--hash", "none", perl.url, path)[0] == 0
    assert perl.files[0].claim is None


def test_a_rate_can_be_set(command: Command, perl: PerlReceiver, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data := some_bytes(20_000))
    assert command("--limit-rate", "1MB", perl.url, tmp_path / "a")[0] == 0
    assert perl.files[0].data == data


def test_a_token_comes_from_a_file_or_the_environment(
    command: Command, perl: PerlReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")
    (tmp_path / "token").write_text("from-file\n")
    assert command("-v", "--token-file", tmp_path / "token", perl.url, path)[0] == 0
    monkeypatch.setenv("GALILEO_TOKEN", "from-environment \n")
    assert command("-v", perl.url, path)[0] == 0
    assert command("-v", "--token-file", tmp_path / "token", perl.url, path)[0] == 0
    assert [file.token for file in perl.files] == [
        "Bearer from-file", "Bearer from-environment", "Bearer from-file",
    ]  # fmt: skip


MISUSES: Mapping[str, tuple[list[str], str]] = {
    "no url": ([], "Missing argument 'URL'"),
    "no file": (["ws://h/"], "Missing argument 'FILE...'"),
    "no such scheme": (["ftp://h/", "a"], 'Expected something like "wss://host/upload"'),
    "a secret in the url": (["ws://u:p@h/", "a"], "$GALILEO_TOKEN"),
    "no such flag": (["--sze", "5", "ws://h/", "a"], "No such option"),
    "two inputs": (["ws://h/", "-", "-"], "only once"),
    "size for a file": (["--size", "5", "ws://h/", "a"], "for standard input only"),
    "size for more": (["--size", "5", "ws://h/", "-", "a"], "for standard input only"),
    "no size": (["--size", "x", "ws://h/", "-"], "expected a size such as"),
    "name for two": (["--name", "x", "ws://h/", "a", "b"], "--name is for a single file"),
    "name for a folder": (["-r", "--name", "x", "ws://h/", "a"], "--name is for a single file"),
    "an empty name": (["--name", "", "ws://h/", "a"], "must not be empty"),
    "no such hash": (["--hash", "md17", "ws://h/", "a"], "Unknown hash 'md17'"),
    "an empty hash": (["--hash", "", "ws://h/", "a"], "Unknown hash ''"),
    "a hash of any length": (["--hash", "shake_128", "ws://h/", "a"], "Unknown hash"),
    "no chunk": (["--chunksize", "0", "ws://h/", "a"], "chunksize must be from 1"),
    "no rate": (["--limit-rate", "0", "ws://h/", "a"], "above 0"),
    "no time": (["--timeout", "0", "ws://h/", "a"], "timeout must be a number of seconds above 0"),
    "a wrong time": (["--timeout", "soon", "ws://h/", "a"], "expected a duration such as"),
    "none at once": (["--parallel", "0", "ws://h/", "a"], "an integer from 1 to 256."),
    "no number": (["-p", "x", "ws://h/", "a"], "expected an integer from 1 to 256."),
    "too many retries": (["--retries", "1001", "ws://h/", "a"], "from 0 to 1000"),
    "an empty path": (["ws://h/", ""], "FILE must not be empty."),
    "no port": (["ws://h:0/", "a"], "The port must be from 1 to 65535."),
    "a hash of no server's": (["--hash", "md5", "ws://h/", "a"], "Unknown hash 'md5'"),
    "quiet and verbose": (["-q", "-v", "ws://h/", "a"], "exclude each other"),
    "no token file": (["--token-file", "none", "ws://h/", "a"], "none cannot be read"),
    "no authority": (["--ca", "none", "wss://h/", "a"], "CA file none cannot be used"),
    "no certificate": (["--ca", "/dev/null", "wss://h/", "a"], "it contains no certificate"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_wrong_usage_is_one_line_and_status_2(command: Command, case: str) -> None:
    arguments, said = MISUSES[case]
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("galileo-send: ")
    assert said in err
    assert err.count("\n") == 1


def test_an_empty_token_file_and_a_wrong_proxy_are_wrong_usage(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_bytes(b"\n")
    assert command("--token-file", tmp_path / "token", "ws://h/", "a")[0] == 2
    (tmp_path / "token").write_bytes(b"\xff")
    assert command("--token-file", tmp_path / "token", "ws://h/", "a")[0] == 2
    (tmp_path / "token").write_bytes(b"two\nlines")
    status, _, err = command("--token-file", tmp_path / "token", "ws://h/", "a")
    assert status == 2
    assert "two" not in err
    monkeypatch.setenv("ALL_PROXY", "socks5://p")
    assert command("ws://h/", "a")[0] == 2


def test_help_has_examples_and_the_version_is_ours(command: Command) -> None:
    status, out, _ = command("--help")
    assert status == 0
    assert "Examples:" in out
    assert command("--version") == (0, f"galileo-send {__version__}\n", "")


@pytest.mark.parametrize("page", ["galileo-send.md", "galileo-send.1"])
def test_every_flag_is_described(page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text().replace("\\-", "-")
    for parameter in cli.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("version", "help"):
            assert [flag for flag in parameter.opts if flag not in text] == []


def test_a_mistake_of_ours_is_a_sentence_too(
    command: Command, server: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("galileod.client.command.run.collect", broken)
    status, _, err = command(server.url, path)
    assert status == 1
    assert "internal error, please report it: ZeroDivisionError: inside (test_main.py:" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_it(process: Process, shell: str) -> None:
    done = process(environ={"_GALILEO_SEND_COMPLETE": f"{shell}_source"})
    if shell == "bash" and b"Couldn't detect Bash version" in done.stderr:
        pytest.skip("no bash here")
    assert done.returncode == 0
    assert b"galileo-send" in done.stdout


def test_flags_are_completed(process: Process) -> None:
    done = process(
        environ={
            "_GALILEO_SEND_COMPLETE": "bash_complete",
            "COMP_WORDS": "galileo-send --rec",
            "COMP_CWORD": "1",
        }
    )
    assert done.stdout == b"plain,--recursive\n"


@pytest.mark.parametrize("line", ['"$@" 2>/dev/full', '"$@" 2>&-'])
def test_wrong_usage_is_status_2_though_nobody_can_be_told(line: str) -> None:
    assert shell(line).returncode == 2


def test_help_that_cannot_be_written_is_told() -> None:
    done = shell('"$@" --help >/dev/full')
    assert done.returncode == 1
    assert done.stderr == b"galileo-send: system error: No space left on device.\n"
