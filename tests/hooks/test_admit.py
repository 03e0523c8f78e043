"""What a hook is asked, and what its answers mean: those of real commands and receivers."""

import json
import os
import ssl
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import trio
import trustme
from helpers.daemon import poll
from helpers.hooks import Answer as Reply
from helpers.hooks import HookReceiver, Script, answer, secret_file, silence, status
from helpers.processes import alive
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from galileod.auth.grant import Grant
from galileod.hooks import command
from galileod.hooks.admit import (
    MAX_ANSWER,
    MAX_REASON,
    NO_REASON,
    Answer,
    ask,
    make_question,
    parse_answer,
)
from galileod.hooks.settings import Hook, HookError, Hooks
from galileod.protocol.messages import Metadata
from galileod.units import Duration
from galileod.uploads.upload import about

QUESTION = b'{"event": "admit"}'
PATIENCE = 30.0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Answer()),
        (b" \r\n", Answer()),
        (b'{"admit": true}', Answer()),
        (b'\xef\xbb\xbf{"admit": true}\n', Answer()),
        (b'{"admit": true, "more": [1], "name": null, "folder": null}', Answer()),
        (
            b'{"admit": true, "name": "b", "folder": "c/d", "max_size": 0}',
            Answer(None, "b", "c/d", 0),
        ),
        (b'{"admit": true, "folder": ""}', Answer(None, None, "")),
        (b'{"admit": false}', Answer(NO_REASON)),
        (b'{"admit": false, "reason": ""}', Answer(NO_REASON)),
        (b'{"admit": false, "reason": " \\n"}', Answer(NO_REASON)),
        (b'{"admit": false, "reason": 5}', Answer(NO_REASON)),
        (b'{"admit": false, "reason": "No.", "name": 5}', Answer("No.")),
        (
            b'{"admit": false, "reason": "A\\nb\\u0000\\u001b[0m\\u202e\\ud800."}',
            Answer("A b  [0m  ."),
        ),
    ],
)  # fmt: skip
def test_an_answer_admits_changes_or_refuses(data: bytes, expected: Answer) -> None:
    assert parse_answer(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"yes", b"true", b"[]", b"{}", b"null", b"1", b'"admit"', b"{", b"\xff", b"\0",
        b'{"admit": 1}', b'{"admit": "false"}', b'{"admit": null}', b"[" * 50_000,
        b'{"admit": true, "name": 5}', b'{"admit": true, "folder": ["a"]}',
        b'{"admit": true, "max_size": -1}', b'{"admit": true, "max_size": 1.5}',
        b'{"admit": true, "max_size": "5MB"}', b'{"admit": true, "max_size": true}',
        b'{"admit": true, "max_size": 9223372036854775808}', b'{"admit": true} {"admit": true}',
    ],
)  # fmt: skip
def test_nonsense_is_no_answer(data: bytes) -> None:
    with pytest.raises(HookError, match=r"^the answer "):
        parse_answer(data)


def test_a_reason_is_cut() -> None:
    refused = parse_answer(json.dumps({"admit": False, "reason": "x" * 5000}).encode()).refused
    assert refused == "x" * (MAX_REASON - 1) + "…"
    exact = parse_answer(json.dumps({"admit": False, "reason": "x" * MAX_REASON}).encode())
    assert exact.refused == "x" * MAX_REASON


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KEYS = st.sampled_from(["admit", "reason", "name", "folder", "max_size"])


@given(st.binary() | (VALUES | st.dictionaries(KEYS, VALUES)).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_an_answer_or_a_hook_error(data: bytes) -> None:
    try:
        found = parse_answer(data)
    except HookError:
        return
    assert found.refused is None or (found.refused.isprintable() and found.refused)


def test_the_question_has_what_is_known_and_any_parser_reads_it() -> None:
    metadata = Metadata("a\n\0\ud800\U0001f600", 5, folder="\udfff/x", modified=7)
    stated = about(metadata, Grant("Anna\u00e9", once="t1", meta='{"album":7}'))
    question = make_question("u1", 5, "Anna\u00e9", "192.0.2.7:5", stated)
    assert b"\n" not in question
    found = json.loads(question)
    json.dumps(found, ensure_ascii=False).encode()  # no lone surrogate is left
    assert found == {
        "event": "admit",
        "upload": "u1",
        "name": "a\n\ufffd\ufffd\U0001f600",
        "folder": "\ufffd/x",
        "size": 5,
        "modified": 7,
        "user": "Anna\u00e9",
        "peer": "192.0.2.7:5",
        "ticket": "t1",
        "meta": {"album": 7},
        "version": found["version"],
    }


async def asked(
    hook: Hook, folder: Path, timeout: float = PATIENCE, secret: str | None = None
) -> Answer:
    hooks = Hooks(admit=hook, admit_timeout=Duration(timeout), secret_file=secret)
    with trio.fail_after(PATIENCE):
        return await ask(hooks, QUESTION, "u1", str(folder))


async def failure(hook: Hook, folder: Path, timeout: float = PATIENCE) -> str:
    with pytest.raises(HookError) as failed:
        await asked(hook, folder, timeout)
    return str(failed.value)


def script(folder: Path, text: str) -> tuple[str, ...]:
    return (str(Script(folder, text).path),)


async def test_a_command_reads_the_question_and_prints_the_answer(tmp_path: Path) -> None:
    text = 'cat > question; echo "to the log" >&2; echo \'{"admit": true, "name": "b"}\''
    with capture_logs() as lines:
        assert await asked(script(tmp_path, text), tmp_path) == Answer(name="b")
    assert (tmp_path / "question").read_bytes() == QUESTION
    assert [line["output"] for line in lines] == ["to the log\n"]


async def test_a_command_that_prints_nothing_admits(tmp_path: Path) -> None:
    assert await asked(("true",), tmp_path) == Answer()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo '{\"admit\": false}'; exit 3", "the command ended with status 3"),
        ("kill -9 $$", "the command was ended by signal 9"),
        ("echo nonsense", "the answer is not JSON"),
        ("exec cat /dev/zero", f"the command printed more than {MAX_ANSWER} bytes"),
        ("(cat /dev/zero) & wait", f"the command printed more than {MAX_ANSWER} bytes"),
        ("exec head -c 1000000000 /dev/zero >&2", None),
    ],
)
async def test_a_command_that_does_not_answer_fails(
    tmp_path: Path, text: str, reason: str | None
) -> None:
    hook = script(tmp_path, text)
    if reason is None:
        assert await asked(hook, tmp_path) == Answer(), "what goes to the log is not counted"
    else:
        assert await failure(hook, tmp_path) == reason


async def test_a_command_that_cannot_be_started_fails(tmp_path: Path) -> None:
    hook = str(tmp_path / "secret-name")
    assert await failure((hook,), tmp_path) == (
        "the command cannot be started: No such file or directory"
    )


async def test_a_command_that_hangs_is_killed_at_once(tmp_path: Path) -> None:
    text = "trap '' TERM; echo $$ > pid; sleep 1000 & echo $! > child; wait"
    reason = await failure(script(tmp_path, text), tmp_path, 0.3)
    assert reason == "the command did not end within 0.3 seconds"
    assert not alive(int((tmp_path / "pid").read_text()))
    child = int((tmp_path / "child").read_text())
    poll("the end of its child", lambda: not alive(child))


async def test_a_child_that_keeps_the_pipe_open_delays_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "OUTPUT_SECONDS", 0.01)
    text = 'sleep 1000 & echo $! > child; echo \'{"admit": false, "reason": "No."}\''
    try:
        assert await asked(script(tmp_path, text), tmp_path) == Answer("No.")
    finally:
        os.kill(int((tmp_path / "child").read_text()), 9)


async def test_a_question_that_is_cancelled_leaves_no_process_and_nothing_open(
    tmp_path: Path,
) -> None:
    await asked(("true",), tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    hook = script(tmp_path, "echo $$ > pid; exec sleep 1000")
    os.mkfifo(tmp_path / "pid")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked, hook, tmp_path)
        pid = int(await trio.to_thread.run_sync((tmp_path / "pid").read_text))
        nursery.cancel_scope.cancel()
    assert not alive(pid)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (status(204), Answer()),
        (answer(b""), Answer()),
        (answer({"admit": True, "folder": "x"}), Answer(folder="x")),
        (answer({"admit": False, "reason": "No."}), Answer("No.")),
    ],
)
async def test_a_url_is_posted_the_question_and_answers_in_its_body(
    tmp_path: Path, reply: Reply, expected: Answer
) -> None:
    with HookReceiver(reply) as receiver:
        secret = str(secret_file(tmp_path, b"hunter1"))
        assert await asked(f"{receiver.origin}/admit", tmp_path, secret=secret) == expected
    (posted,) = receiver.posted
    assert (posted.path, posted.body) == ("/admit", QUESTION)
    assert posted.headers["Idempotency-Key"] == "u1"
    assert posted.headers["X-Galileod-Signature"].startswith("sha256=")


def slow_head(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    silence(request)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        while True:
            request.wfile.write(b" " * 65536)
    except OSError:
        pass  # the other side has had enough


def cut(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"admit": true}')


REDIRECT = status(302, Location="http://127.0.0.1:9/", **{"Content-Length": "0"})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (status(500), "the response is HTTP 500"),
        (status(403), "the response is HTTP 403"),
        (status(201), "the response is HTTP 201"),
        (REDIRECT, "the response is HTTP 302"),
        (answer(b"<html>"), "the answer is not JSON"),
        (answer(b" " * (MAX_ANSWER + 1)), f"the response has more than {MAX_ANSWER} bytes"),
        (endless, f"the response has more than {MAX_ANSWER} bytes"),
        (cut, "the request failed: peer closed connection without sending complete message body"),
    ],
)
async def test_a_url_that_does_not_answer_fails(tmp_path: Path, reply: Reply, reason: str) -> None:
    with HookReceiver(reply) as receiver:
        assert (await failure(receiver.origin, tmp_path)).startswith(reason)
    assert len(receiver.posted) == 1


@pytest.mark.parametrize("reply", [silence, slow_head])
async def test_a_url_that_answers_too_late_fails(tmp_path: Path, reply: Reply) -> None:
    with HookReceiver(reply) as receiver:
        reason = await failure(receiver.origin, tmp_path, 0.3)
    assert reason == "no response within 0.3 seconds"


async def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(tmp_path: Path) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        request.connection.settimeout(0.02)
        for _ in range(1000):
            try:
                request.wfile.write(b" ")
                if not request.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    with HookReceiver(drip) as receiver:
        reason = await failure(receiver.origin, tmp_path, 0.5)
    assert reason == "no response within 0.5 seconds"


async def test_a_certificate_of_another_authority_fails(tmp_path: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    with HookReceiver(tls=server) as receiver:
        assert "certificate verify failed" in await failure(receiver.origin, tmp_path)
    assert receiver.posted == []


async def test_a_port_without_tls_fails(tmp_path: Path) -> None:
    with HookReceiver() as receiver:
        url = receiver.origin.replace("http:", "https:")
        assert (await failure(url, tmp_path)).startswith("the request failed: ")


async def test_nobody_who_listens_fails(tmp_path: Path) -> None:
    assert "Connection refused" in await failure("http://127.0.0.1:9/", tmp_path)


@pytest.mark.parametrize(
    "answer", ['"admit": false, "admit": true', '"admit": true, "admit": false']
)
def test_of_contradicting_answers_the_refusal_counts(answer: str) -> None:
    found = parse_answer(f'{{{answer}, "reason": "No."}}'.encode())
    assert found == Answer(refused="No.")
