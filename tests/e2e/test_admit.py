"""A hook that is asked before an upload begins, from outside: real commands and receivers."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.bursts import Burst, key_of
from helpers.clients import (
    JavaScriptClient,
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    say,
    some_bytes,
)
from helpers.credentials import Office, ticket
from helpers.daemon import Daemon, Daemons, poll
from helpers.hooks import HookReceiver, Script, answer, silence, status
from helpers.processes import alive
from helpers.sending import run_process

from galileod import __version__

DATA = b"hello"


def settings(hook: object, **more: object) -> dict[str, dict[str, object]]:
    return {
        "hooks": {"admit": hook, "admit_timeout": "30s", **more},
        "log": {"format": "json", "level": "debug"},
    }


def send(host: Daemon, name: str = "a.txt", data: bytes = DATA) -> str | None:
    """The code of the fault; None if the file was stored."""
    outcome = JavaScriptClient(host.url, data, name).run()
    assert (outcome.ending == "stored") is (outcome.code is None)
    return outcome.code


def files(host: Daemon) -> dict[str, bytes]:
    """What is stored, by its path below the directory."""
    paths = (path for path in host.directory.rglob("*") if path.is_file())
    found = {str(path.relative_to(host.directory)): path for path in paths}
    return {
        name: path.read_bytes() for name, path in found.items() if not name.startswith(".galileod")
    }


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    with HookReceiver() as receiver:
        yield receiver


def test_a_command_is_asked_and_admits(daemon: Daemons, tmp_path: Path) -> None:
    script = Script(tmp_path, 'cat >> "$notes"; echo >> "$notes"')
    host = daemon(settings([str(script.path)]))
    with open_websocket(host.url) as websocket:
        say(websocket, name="a b.txt", size=5, folder="c", modified=7)
        expect_ready(websocket)
        websocket.send(DATA)
        say(websocket, finished=True)
        while "close" not in hear(websocket):
            pass
    (note,) = script.told
    stored = host.wait_for("upload.stored")
    assert json.loads(note) == {
        "event": "admit",
        "upload": stored["upload"],
        "name": "a b.txt",
        "folder": "c",
        "size": 5,
        "modified": 7,
        "user": "127.0.0.1",
        "peer": stored["peer"],
        "ticket": None,
        "meta": None,
        "version": __version__,
    }
    host.wait_for("hook.admitted", upload=stored["upload"])


def test_a_refused_upload_hears_the_sentence_and_leaves_nothing(daemon: Daemons) -> None:
    refusal = answer({"admit": False, "reason": "Only pictures are collected here."})
    with HookReceiver(refusal) as receiver:
        host = daemon(settings(receiver.origin))
        with open_websocket(host.url) as websocket:
            say(websocket, name="a.txt", size=5)
            fault = expect_fault(websocket, "not_admitted")
    assert fault["error"] == "Only pictures are collected here."
    failed = host.wait_for("upload.failed")
    assert (failed["code"], failed["reason"]) == ("not_admitted", fault["error"])
    assert not files(host)
    poll("rest", host.at_rest, host.text)


@pytest.mark.parametrize(
    ("answered", "stored"),
    [
        ({"name": "b.txt"}, "b.txt"),
        ({"name": "../../b.txt"}, "b.txt"),
        ({"name": "\ud800.txt"}, "_.txt"),
        ({"folder": "x/../y"}, "x/_/y/a.txt"),
        ({"folder": "/etc", "name": ".b"}, "etc/_b"),
        ({"max_size": 5}, "a.txt"),
        ({}, "a.txt"),
    ],
)
def test_the_hook_may_choose_name_and_folder_which_are_made_safe(
    daemon: Daemons, answered: dict[str, object], stored: str
) -> None:
    with HookReceiver(answer({"admit": True, **answered})) as receiver:
        host = daemon(settings(receiver.origin))
        assert send(host) is None
    assert list(files(host)) == [stored]
    assert host.wait_for("upload.stored")["name"] == "a.txt"


@pytest.mark.parametrize("name", ["", "/", ".."])
def test_a_name_of_the_hook_that_cannot_be_used_is_its_failure(daemon: Daemons, name: str) -> None:
    with HookReceiver(answer({"admit": True, "name": name})) as receiver:
        host = daemon(settings(receiver.origin))
        assert send(host) == "busy"
    assert "the answer cannot be used" in str(host.wait_for("hook.unanswered")["reason"])


def test_the_hook_may_set_a_limit_on_the_size(daemon: Daemons) -> None:
    with HookReceiver(answer({"admit": True, "max_size": 4})) as receiver:
        host = daemon(settings(receiver.origin))
        with open_websocket(host.url) as websocket:
            say(websocket, name="a.txt", size=5)
            assert expect_fault(websocket, "too_large")["limit"] == 4


def test_the_hook_may_not_raise_the_limit_on_the_size_and_is_not_asked(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    host = daemon({**settings(receiver.origin), "limits": {"max_file_size": 4}})
    assert send(host) == "too_large"
    assert receiver.posted == []


@pytest.mark.parametrize("policy", ["refuse", "accept"])
def test_without_an_answer_the_configuration_decides(daemon: Daemons, policy: str) -> None:
    with HookReceiver(status(503)) as receiver:
        host = daemon(settings(receiver.origin, admit_failure=policy))
        assert send(host) == ("busy" if policy == "refuse" else None)
    assert list(files(host)) == ["a.txt"] * (policy == "accept")
    line = host.wait_for("hook.unanswered")
    assert (line["level"], line["reason"], line["accepted"]) == (
        "warning", "the response is HTTP 503", policy == "accept",
    )  # fmt: skip


def test_a_client_that_hears_busy_tries_again_by_itself(daemon: Daemons, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(DATA)
    with HookReceiver(status(500), answer({"admit": True})) as receiver:
        host = daemon(settings(receiver.origin))
        done = run_process(host.url, tmp_path / "a.txt")
    assert done.returncode == 0, done.stderr
    assert list(files(host)) == ["a.txt"]


def test_galileo_send_shows_the_sentence_and_does_not_try_again(
    daemon: Daemons, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(DATA)
    refusal = answer({"admit": False, "reason": "The album of June is closed."})
    with HookReceiver(refusal) as receiver:
        host = daemon(settings(receiver.origin))
        done = run_process(host.url, tmp_path / "a.txt")
    assert done.returncode == 1
    assert b"The album of June is closed." in done.stderr
    assert len(receiver.posted) == 1


def test_a_refusal_does_not_use_up_a_ticket(tmp_path: Path) -> None:
    replies = (answer({"admit": False}), answer({"admit": True}))
    with HookReceiver(*replies) as receiver:
        office = Office(tmp_path, "ticket", more={"hooks": {"admit": receiver.origin}})
        with office.host as host:
            host.start()
            once = ticket(jti="t1", meta={"album": 7})
            codes = [JavaScriptClient(host.url, DATA, token=once).run().code for _ in range(3)]
    assert codes == ["not_admitted", None, "unauthorized"]
    question = receiver.posted[0].receipt
    assert (question["user"], question["ticket"], question["meta"]) == ("anna", "t1", {"album": 7})


def test_small_files_of_a_connection_are_asked_about_at_the_same_time(daemon: Daemons) -> None:
    together = threading.Barrier(8)

    def decide(question: dict[str, Any]) -> object:
        if question["name"] == "first":
            return {"admit": True}
        together.wait(30)  # nobody is answered before eight have asked
        number = int(question["name"])
        return {"admit": number % 3 != 0, "reason": f"Not {number}."}

    with HookReceiver(decide=decide) as receiver:
        host = daemon(settings(receiver.origin, admit_parallel=8))
        with closing(Burst(host, "first")) as burst:
            assert burst.begin()
            for number in range(64):
                burst.send_whole(str(number), b"x" * number, upload=key_of(str(number)))
            while len(burst.answers) < 64 and burst.hear():
                pass
    for at, signal_ in burst.answers.items():
        number = at - 1
        if number % 3:
            assert signal_["close"] is True
        else:
            assert (signal_["code"], signal_["error"]) == ("not_admitted", f"Not {number}.")
            assert signal_["next"] is True
    stored = {name: len(data) for name, data in files(host).items()}
    assert stored == {"first": 0, **{str(at): at for at in range(64) if at % 3}}


def test_nothing_is_asked_about_what_is_stored_or_goes_on(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    host = daemon({**settings(receiver.origin), "resume": {"min_size": 1}})
    for first in ("1", "2"):
        with closing(Burst(host, first)) as burst:
            assert burst.begin()
            burst.send_whole("a.txt", DATA, upload=key_of("a.txt"))  # the same key again
            burst.hear_all([1])
            assert burst.answers[1]["close"] is True
    with closing(Burst(host, "1")) as burst:
        assert burst.start is not None
        assert burst.start["close"], "it is stored as well"
    assert [posted.receipt["name"] for posted in receiver.posted] == ["1", "a.txt", "2"]
    assert sorted(files(host)) == ["1", "2", "a.txt"]


def test_a_resumed_upload_keeps_what_was_decided_at_its_beginning(daemon: Daemons) -> None:
    data = some_bytes(3_000_000)
    metadata = {"name": "a.bin", "size": len(data), "upload": key_of("a"), "can": ["resume"]}
    with HookReceiver(answer({"admit": True, "name": "b.bin", "folder": "c"})) as receiver:
        host = daemon(settings(receiver.origin))
        with open_websocket(host.url) as websocket:
            say(websocket, **metadata)
            websocket.send(data[: expect_ready(websocket)])
            expect_ready(websocket)
        host.wait_for("upload.kept")
        host.kill()
        host.start()
        with open_websocket(host.url) as websocket:
            say(websocket, **metadata)
            first = hear(websocket)
            offset, room = first["offset"], first["chunksize"]
            assert offset > 0
            while offset < len(data):
                websocket.send(data[offset : offset + room])
                offset = min(len(data), offset + room)
                room = expect_ready(websocket)
            say(websocket, finished=True)
            while "close" not in hear(websocket):
                pass
        assert len(receiver.posted) == 1
    assert files(host)["c/b.bin"] == data


def test_a_client_that_goes_away_ends_the_command(daemon: Daemons, tmp_path: Path) -> None:
    script = Script(tmp_path, 'echo $$ >> "$notes"; exec sleep 1000')
    host = daemon(settings([str(script.path)]))
    with open_websocket(host.url) as websocket:
        say(websocket, name="a.txt", size=5)
        (pid,) = script.wait_for(1, host)
        assert alive(int(pid))
    assert host.wait_for("upload.failed")["code"] == "disconnected"
    poll("the end of the command", lambda: not alive(int(pid)), host.text)
    poll("rest", host.at_rest, host.text)


def test_data_that_was_not_asked_for_is_refused_while_the_hook_is_asked(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    with HookReceiver(silence) as hanging:
        host = daemon(settings(hanging.origin))
        with open_websocket(host.url) as websocket:
            say(websocket, name="a.txt", size=5_000_000)
            poll("the question", lambda: hanging.posted, host.text)
            websocket.send(bytes(1_000_000))
            expect_fault(websocket, "bad_chunk")


def test_a_hook_that_is_asked_at_a_stop_may_answer_within_the_drain_time(
    daemon: Daemons, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go on")
    script = Script(tmp_path, f'echo begun >> "$notes"; cat "{tmp_path}/go on"')
    host = daemon(settings([str(script.path)]))
    with open_websocket(host.url) as websocket:
        say(websocket, name="a.txt", size=5)
        script.wait_for(1, host)
        host.send_signal(signal.SIGTERM)
        host.wait_for("server.draining")
        (tmp_path / "go on").write_text('{"admit": true}')
        expect_ready(websocket)
        websocket.send(DATA)
        say(websocket, finished=True)
        while "close" not in hear(websocket):
            pass
    assert host.wait() == 0
    assert list(files(host)) == ["a.txt"]


@pytest.mark.parametrize("whole", [False, True])
def test_a_hook_that_hangs_at_a_stop_is_ended_after_the_drain_time(
    daemon: Daemons, tmp_path: Path, *, whole: bool
) -> None:
    text = 'case $(cat) in *first*) exit 0;; esac; echo $$ >> "$notes"; exec sleep 1000'
    script = Script(tmp_path, text)
    host = daemon({**settings([str(script.path)]), "server": {"drain_timeout": "100ms"}})
    with closing(Burst(host, "first")) as burst:
        assert burst.begin()
        if whole:
            burst.send_whole("a.txt", DATA, upload=key_of("a"))
        else:
            burst.send_metadata("a.txt", 5_000_000, upload=key_of("a"))
        (pid,) = script.wait_for(1, host)
        assert host.stop() == 0
        while not burst.answers and burst.hear():
            pass
    assert burst.answers[1]["code"] == "shutting_down"
    assert not alive(int(pid))
    assert list(files(host)) == ["first"]


def test_a_thousand_files_of_one_user_keep_no_other_user_waiting(tmp_path: Path) -> None:
    waiting = threading.Event()

    def decide(question: dict[str, Any]) -> object:
        if question["user"] == "anna" and question["name"] != "first":
            waiting.wait(60)
        return {"admit": True}

    with HookReceiver(decide=decide) as receiver:
        hooks = {"admit": receiver.origin, "admit_parallel": 4, "admit_timeout": "2s"}
        office = Office(tmp_path, "ticket", more={"hooks": hooks})
        with office.host as host:
            host.start()
            more: dict[str, object] = {"token": ticket(sub="anna")}
            with closing(Burst(host, "first", more=more)) as burst:
                assert burst.begin()
                for number in range(1000):
                    while burst.sent - len(burst.answers) > 200:
                        assert burst.hear()
                    burst.send_whole(f"{number}", b"x", upload=key_of(f"{number}"), **more)
                    if number == 150:
                        ben = JavaScriptClient(host.url, DATA, "ben", token=ticket(sub="ben"))
                        assert ben.run().code is None
                        assert host.descriptors() < 100
                while len(burst.answers) < 1000 and burst.hear():
                    pass
            waiting.set()
            assert {each["code"] for each in burst.answers.values()} == {"busy"}
            assert len(burst.answers) == 1000
            poll("rest", host.at_rest, host.text)


def test_what_may_be_secret_is_not_logged(daemon: Daemons) -> None:
    with HookReceiver(status(500), answer({"admit": True})) as receiver:
        url = f"http://anna:hunter2@127.0.0.1:{receiver.port}/hunter3?token=hunter4"
        host = daemon(settings(url))
        send(host)
        send(host)
    assert host.stop() == 0
    assert "hunter" not in host.text()
