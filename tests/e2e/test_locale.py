"""Names, paths and output are UTF-8 in each locale."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.daemon import DEADLINE, Daemon, environment, run_galileod
from helpers.locales import make_locale
from helpers.sending import GALILEO_SEND

NAME = "Übung-Ωж日.txt"

SENDING = """
import sys
from galileod.client.api import send_file_sync
print(ascii(send_file_sync(sys.argv[1], sys.argv[2]).stored_name))
"""

Variables = Mapping[str, str]


@pytest.fixture(
    scope="module",
    params=["en_US.ISO-8859-1", "ja_JP.EUC-JP", "C", "POSIX without help"],
)
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Variables:
    match request.param.split("."):
        case [language, encoding]:
            return make_locale(tmp_path_factory.mktemp("locale"), language, encoding)
        case ["C"]:
            return {"LC_ALL": "C"}
    # Python's own remedies for it are switched off.
    return {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def send(*arguments: str | Path, environ: Variables, cwd: Path, data: bytes = b"") -> bytes:
    done = subprocess.run(
        [GALILEO_SEND, "--retries", "0", *arguments],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE,
        env=environment(environ),
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_name_is_the_same_on_both_sides_in_the_log_and_for_the_hook(
    tmp_path: Path, locale: Variables
) -> None:
    folder = tmp_path / "Ort-Ω"
    folder.mkdir()
    told = folder / "told-Ω"
    hook = folder / "hook-Ω"
    hook.write_text('#!/bin/sh\ncat > "$1"\nprintf %s "$1" >> "$1"\n')
    hook.chmod(0o755)
    settings = {"hooks": {"stored": [str(hook), str(told)]}}
    (tmp_path / NAME).write_text("content")
    with Daemon(folder, settings, environ=locale) as host:
        host.start()
        text = send(host.url, NAME, environ=locale, cwd=tmp_path)
        assert text.startswith(f"stored {NAME} ".encode())
        send("--name", f"2-{NAME}", host.url, "-", environ=locale, cwd=tmp_path, data=b"piped")
        assert sorted(os.listdir(os.fsencode(host.directory)))[1:] == sorted(
            [f"2-{NAME}".encode(), NAME.encode()]
        )
        host.wait_for("hook.delivered", name=NAME)
        host.wait_for("hook.delivered", name=f"2-{NAME}")
        assert host.wait_for("upload.stored", name=NAME)["path"] == str(host.directory / NAME)
        receipt, end = json.JSONDecoder().raw_decode(told.read_text("utf-8"))
        assert receipt["path"].startswith(str(host.directory))
        assert told.read_text("utf-8")[end:].strip() == str(told)
        for command in ("check-config", "reload", "usage"):
            done = run_galileod(command, "--config", host.config, environ=locale)
            assert (done.returncode, done.stderr) == (0, ""), command
        assert host.stop() == 0


def test_what_is_printed_is_utf_8(tmp_path: Path, locale: Variables) -> None:
    config = tmp_path / "Ω.toml"
    config.write_text('[storage]\ndirectory = "/srv/Ω日"\n', "utf-8")
    done = run_galileod("check-config", "--config", config, environ=locale)
    assert 'directory = "/srv/Ω日"' in done.stdout
    config.write_text('[storage]\nΩ = "日"\n', "utf-8")
    done = run_galileod("check-config", "--config", config, environ=locale)
    assert done.returncode == 2
    assert done.stderr.startswith(f"galileod: {config}: ")


def test_a_program_that_uses_the_library_sends_the_name(
    tmp_path: Path, plain: Daemon, locale: Variables
) -> None:
    """Its paths are in the encoding of its locale, and the bytes on the disk are UTF-8."""
    (tmp_path / NAME).write_text("content")
    done = subprocess.run(
        [sys.executable, "-c", SENDING, plain.url, NAME],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(locale),
        cwd=tmp_path,
        check=False,
    )
    if "EUC-JP" in locale["LC_ALL"]:  # there Python does not find the file itself
        assert "SourceError: " in done.stderr
        return
    assert done.returncode == 0, done.stderr
    stored = done.stdout.strip().strip("'")
    assert stored.startswith(ascii(NAME).strip("'").removesuffix(".txt"))


@pytest.mark.parametrize(
    "program", [["-I", "-m", "galileod"], ["-c", "from galileod.cli.daemon import main; main()"]]
)
def test_it_is_the_same_for_each_way_to_start_it(
    tmp_path: Path, locale: Variables, program: list[str]
) -> None:
    config = tmp_path / "Ω.toml"
    config.write_text('[storage]\ndirectory = "/srv/Ω日"\n', "utf-8")
    done = subprocess.run(
        [sys.executable, *program, "check-config", "--config", config],
        stdout=subprocess.PIPE,
        timeout=DEADLINE,
        env=environment(locale),
        check=True,
    )
    assert 'directory = "/srv/Ω日"'.encode() in done.stdout
