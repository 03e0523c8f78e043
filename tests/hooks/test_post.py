"""The hook as a URL: real receivers, that answer well, badly, late or not at all."""

import base64
import json
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from helpers.hooks import Answer, HookReceiver, secret_file, silence, status

from galileod.hooks import post as post_room
from galileod.hooks.post import MAX_SECRET, make_headers, post, read_secret
from galileod.hooks.settings import HookError

RECEIPT = json.dumps({"id": "1", "name": "a.txt"}).encode()
PATIENCE = 30.0


async def send(url: str, timeout: float = PATIENCE, secret: Path | None = None) -> None:
    with trio.fail_after(PATIENCE):
        await post(url, RECEIPT, "1", str(secret) if secret else None, timeout)


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    with HookReceiver() as receiver:
        yield receiver


async def test_the_receipt_is_posted_with_its_id(receiver: HookReceiver) -> None:
    await send(f"{receiver.origin}/stored?token=x")
    (posted,) = receiver.posted
    assert posted.path == "/stored?token=x"
    assert posted.body == RECEIPT
    assert posted.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert posted.headers["Content-Type"] == "application/json"
    assert posted.headers["Idempotency-Key"] == "1"
    assert posted.headers["User-Agent"].startswith("galileod/")
    assert not {"Authorization", "X-Galileod-Signature"} & posted.headers.keys()


async def test_a_zone_in_the_url_is_resolved_and_not_sent() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="::1")
    port = listener.socket.getsockname()[1]
    head = bytearray()

    async def answer() -> None:
        async with listener, await listener.accept() as stream:
            while b"\r\n\r\n" not in head:
                head.extend(await stream.receive_some())
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        await send(f"http://[::1%25{socket.if_nametoindex('lo')}]:{port}/")
    assert f"\r\nHost: [::1]:{port}\r\n".encode() in head


async def test_a_user_and_password_in_the_url_are_sent_as_such(receiver: HookReceiver) -> None:
    await send(f"http://anna:p%40ss@127.0.0.1:{receiver.port}/")
    (posted,) = receiver.posted
    kind, _, credentials = posted.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(credentials)) == ("Basic", b"anna:p@ss")
    assert posted.headers["Host"] == f"127.0.0.1:{receiver.port}"


async def test_the_signature_is_what_openssl_computes(
    receiver: HookReceiver, tmp_path: Path
) -> None:
    await send(receiver.origin, secret=secret_file(tmp_path, b"a secret\n"))
    (posted,) = receiver.posted
    signed = posted.headers["X-Galileod-Timestamp"].encode() + b"." + posted.body
    openssl = await trio.run_process(
        ["openssl", "dgst", "-sha256", "-hmac", "a secret", "-r"],
        stdin=signed,
        capture_stdout=True,
    )
    digest = openssl.stdout.split()[0].decode()
    assert posted.headers["X-Galileod-Signature"] == f"sha256={digest}"


def test_the_signature_covers_body_and_time_and_depends_on_the_secret() -> None:
    variants = {
        make_headers("http://x/", body, "1", secret, now)["X-Galileod-Signature"]
        for body in (b"1", b"2")
        for secret in (b"a", b"b")
        for now in (1, 2)
    }
    assert len(variants) == 8


def test_the_documented_way_to_verify_takes_ours_and_nothing_else() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "hooks.md").read_text()
    (block,) = (part for part in text.split("```python\n") if "is_from_galileod" in part)
    names: dict[str, Any] = {}
    exec(block.partition("```")[0], names)  # noqa: S102  our own text
    verify, now = names["is_from_galileod"], int(time.time())
    good = make_headers("http://x/", RECEIPT, "1", b"secret", now)
    old = make_headers("http://x/", RECEIPT, "1", b"secret", now - 3600)
    assert verify(good, RECEIPT, b"secret")
    assert not verify(good, RECEIPT + b" ", b"secret")
    assert not verify(good, RECEIPT, b"other")
    assert not verify({**good, "X-Galileod-Timestamp": str(now - 1)}, RECEIPT, b"secret")
    assert not verify(old, RECEIPT, b"secret")


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(code: int) -> None:
    with HookReceiver(status(code)) as receiver:
        await send(receiver.origin)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(
    receiver: HookReceiver, code: int
) -> None:
    redirect = status(code, Location=receiver.origin)
    with (
        HookReceiver(redirect) as first,
        pytest.raises(HookError, match=f"the response is HTTP {code}"),
    ):
        await send(first.origin)
    assert receiver.posted == []


def cut_off(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def nonsense(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"hello\r\n\r\n")


def endless_head(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        request.wfile.write(b"X-Filler: " + b"x" * 10_000 + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(400), "the response is HTTP 400"),
        (status(500), "the response is HTTP 500"),
        (cut_off, "the request failed: "),
        (nonsense, "the request failed: "),
        (endless_head, "the request failed: "),
    ],
)
async def test_any_other_answer_is_a_failure_with_its_reason(answer: Answer, reason: str) -> None:
    with HookReceiver(answer) as receiver, pytest.raises(HookError, match=reason):
        await send(receiver.origin)


def endless_body(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        request.wfile.write(bytes(100_000))


async def test_what_follows_the_head_of_an_answer_is_not_read() -> None:
    with HookReceiver(endless_body) as receiver:
        await send(receiver.origin)


async def test_a_receiver_that_does_not_answer_in_time_is_a_failure() -> None:
    with (
        HookReceiver(silence) as silent,
        pytest.raises(HookError, match=r"no response within 0\.2 seconds"),
    ):
        await send(silent.origin, timeout=0.2)


async def test_a_receiver_that_is_not_there_is_a_failure(receiver: HookReceiver) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(HookError, match=r"the request failed: .*refused"):
            await send(f"http://127.0.0.1:{bound.getsockname()[1]}/")
        with pytest.raises(HookError, match=r"the request failed: .*refused"):
            await send(f"http://localhost:{bound.getsockname()[1]}/")


async def test_authorities_are_read_in_a_thread_and_for_https_alone(
    monkeypatch: pytest.MonkeyPatch, receiver: HookReceiver
) -> None:
    read_in = list[int]()
    make = ssl.create_default_context

    def noting() -> ssl.SSLContext:
        read_in.append(threading.get_ident())
        return make()

    monkeypatch.setattr(ssl, "create_default_context", noting)
    post_room._tls.cache_clear()
    await send(receiver.origin)
    assert read_in == []
    with pytest.raises(HookError, match="the request failed"):
        await send(receiver.origin.replace("http:", "https:"))
    post_room._tls.cache_clear()
    assert len(read_in) == 1
    assert read_in[0] != threading.get_ident()


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_is_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, trusted: bool
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    post_room._tls.cache_clear()
    with HookReceiver(tls=tls) as receiver:
        if trusted:
            await send(receiver.origin)
        else:
            with pytest.raises(HookError, match="certificate verify failed"):
                await send(receiver.origin)
    post_room._tls.cache_clear()
    assert len(receiver.posted) == trusted


async def test_a_new_secret_holds_at_once(receiver: HookReceiver, tmp_path: Path) -> None:
    for secret in (b"one", b"two"):
        path = secret_file(tmp_path, secret, stat.S_IRUSR | stat.S_IWUSR)
        await send(receiver.origin, secret=path)
    one, two = (posted.headers["X-Galileod-Signature"] for posted in receiver.posted)
    assert one != two


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_secret_is_the_file_without_the_lines_end(tmp_path: Path, mode: int) -> None:
    assert read_secret(str(secret_file(tmp_path, b" a secret \r\n", mode))) == b" a secret "


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o601])
def test_a_secret_that_everybody_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, b"a secret", mode)
    with pytest.raises(HookError, match=f"{path}: has mode") as caught:
        read_secret(str(path))
    assert "a secret" not in str(caught.value)


@pytest.mark.parametrize("secret", [b"", b" \n", bytes(MAX_SECRET + 1)])
def test_a_secret_that_is_none_or_too_long_is_refused(tmp_path: Path, secret: bytes) -> None:
    with pytest.raises(HookError, match="expected 1 to 4096 bytes"):
        read_secret(str(secret_file(tmp_path, secret)))


def test_a_secret_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="No such file"):
        read_secret(str(tmp_path / "secret"))
    with pytest.raises(HookError, match="Is a directory"):
        read_secret(str(tmp_path))
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(HookError, match="not a regular file"):
        read_secret(str(tmp_path / "fifo"))
