"""The command, against galileod, galileo-send and peers that are not there."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from helpers.daemon import DEADLINE, Daemons, environment, free_port, poll

from galileod.conformance.command import main

KIT: Final = Path(sys.executable).with_name("galileo-conformance")
SEND: Final = Path(sys.executable).with_name("galileo-send")


def run_kit(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [KIT, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env=environment(),
    )


def verdicts(directory: Path) -> dict[str, str]:
    index = json.loads((directory / "index.json").read_text("utf-8"))
    return {case["case"]: case["verdict"] for case in index["cases"]}


def test_galileod_passes_and_the_reports_are_written(daemon: Daemons, tmp_path: Path) -> None:
    running = daemon()
    done = run_kit(
        "server", "--url", running.url, "--stored", running.directory, "--case", "3.1.1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    assert "1 case: 1 PASS. Regressions: 0." in done.stdout
    assert verdicts(tmp_path / "conformance-report") == {"3.1.1": "PASS"}
    assert "TEXT" in (tmp_path / "conformance-report" / "3.1.1.txt").read_text("utf-8")


def test_galileo_send_passes(tmp_path: Path) -> None:
    done = run_kit(
        "client", "--command", f"{SEND} {{url}} {{file}}", "--case", "4.2.1,4.2.2",
        "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("", 0)
    assert verdicts(tmp_path / "out") == {"4.2.1": "PASS", "4.2.2": "PASS"}


def test_a_client_that_ends_before_it_connects_is_an_error(tmp_path: Path) -> None:
    command = f"{SEND} --no-such-option {{url}} {{file}}"
    done = run_kit("client", "--command", command, "--case", "4.2.1", cwd=tmp_path)
    assert done.returncode == 1
    assert "the client has ended: galileo-send: No such option" in done.stdout
    assert verdicts(tmp_path / "conformance-report") == {"4.2.1": "HARNESS-ERROR"}


def test_a_known_failure_is_no_regression_and_one_that_passes_now_is(tmp_path: Path) -> None:
    lying = tmp_path / "lying.py"
    lying.write_text(
        f"import subprocess, sys\nsubprocess.run([{str(SEND)!r}, *sys.argv[1:]], check=False)\n"
    )
    (tmp_path / "known").write_text("4.2.12 FAIL # it always says success\n")
    liar = f"{sys.executable} {lying} {{url}} {{file}}"
    arguments = ("client", "--case", "4.2.12", "--command")

    assert run_kit(*arguments, liar, cwd=tmp_path).returncode == 1
    assert verdicts(tmp_path / "conformance-report") == {"4.2.12": "FAIL"}

    known = run_kit(*arguments, liar, "--expected", "known", cwd=tmp_path)
    assert known.returncode == 0
    assert "known failure" in known.stdout

    honest = run_kit(*arguments, f"{SEND} {{url}} {{file}}", "--expected", "known", cwd=tmp_path)
    assert honest.returncode == 1
    assert "expected FAIL, got PASS" in honest.stdout


def test_a_server_that_cannot_be_reached_is_an_error_that_ends_the_run(tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{free_port()}/upload"
    done = run_kit("server", "--url", url, "--stored", "cat", "--case", "3.1", cwd=tmp_path)
    assert done.returncode == 1
    assert list(verdicts(tmp_path / "conformance-report").values()) == ["HARNESS-ERROR"] * 3
    assert "cannot connect" in done.stdout
    assert "3 cases in a row could not be run" in done.stdout
    assert done.stderr == ""


def test_each_case_is_printed_when_it_is_over(tmp_path: Path) -> None:
    client = "sh -c 'exit 1' {url} {file}"
    arguments: list[str | Path] = [KIT, "client", "--case", "4.2", "--command", client]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("4.2.1 ")
        process.stdout.close()
        assert process.wait(timeout=DEADLINE) == 1
    assert (tmp_path / "conformance-report" / "index.html").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_still_writes_the_reports(number: signal.Signals, tmp_path: Path) -> None:
    client = "sh -c 'touch started; sleep 1000' {url} {file}"
    arguments: list[str | Path] = [KIT, "client", "--case", "4.2", "--command", client]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment()) as process:
        poll("the client to start", (tmp_path / "started").exists)
        process.send_signal(number)
        assert process.wait(timeout=DEADLINE) == 130
    assert verdicts(tmp_path / "conformance-report") == {}


def test_signals_that_the_caller_ignores_do_not_end_the_run(tmp_path: Path) -> None:
    client = "sh -c 'kill -INT $PPID; kill -TERM $PPID; exit 1' {url} {file}"
    ignoring = ["sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh"]
    kit: list[str | Path] = [KIT, "client", "--case", "4.2.1", "--command", client]
    done = subprocess.run(
        [*ignoring, *kit], cwd=tmp_path, env=environment(), timeout=DEADLINE, check=False
    )
    assert done.returncode == 1
    assert list(verdicts(tmp_path / "conformance-report")) == ["4.2.1"]


SERVER: Final = ("server", "--url", "ws://h/", "--stored", "cat")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Missing command."),
        (("server",), "Missing option '--url'."),
        (("client",), "Expected one of --command and --listen."),
        (("server", "--url", "http://h", "--stored", "cat"), "no scheme ws:// or wss://"),
        (("server", "--url", "ws://h", "--stored", "/no/dir"), "neither a directory nor a command"),
        ((*SERVER, "--kill", "/no/program"), "there is no program '/no/program'"),
        ((*SERVER, "--restart", "a 'b"), "No closing quotation"),
        ((*SERVER, "--token-file", "absent"), "cannot read 'absent': No such file"),
        ((*SERVER, "--token-file", "empty"), "'empty' has no token"),
        ((*SERVER, "--token-file", "binary"), "invalid start byte"),
        ((*SERVER, "--profile", "core,more"), "'more' is none of core, resume, next, ask"),
        ((*SERVER, "--case", "4.2.1"), "there is no case 4.2.1 of this role"),
        ((*SERVER, "--case", "x"), "there is no case x of this role"),
        ((*SERVER, "--profile", "resume", "--case", "3.1.1"), "No case is left"),
        ((*SERVER, "--patience", "0"), "0.0 is not in the range"),
        ((*SERVER, "--expected", "absent"), "cannot read 'absent'"),
        ((*SERVER, "--expected", "wrong"), "'wrong', line 1: 'x' is not CASE VERDICT"),
        ((*SERVER, "--output", "empty/x"), "Cannot write the reports"),
        (("client", "--command", "cat {url}"), "does not contain {file}"),
        (("client", "--command", "/no/program {url} {file}"), "there is no program"),
        (("nonsense",), "No such command 'nonsense'."),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "wrong").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["galileo-conformance", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    written = capsys.readouterr()
    assert caught.value.code == 2
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert sentence in written.err


def test_the_list_has_each_case_on_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["galileo-conformance", "list", "--profile", "core"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert "1.1.3   core    The number 1 is taken for true. (S1.3)" in lines
    numbers = [[int(part) for part in line.split()[0].split(".")] for line in lines]
    assert numbers == sorted(numbers)
