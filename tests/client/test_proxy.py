"""Connecting through a proxy of the environment."""

import socket
from pathlib import Path

import pytest
import trustme
from helpers.certificates import server_tls
from helpers.clients import some_bytes
from helpers.receivers import (
    PerlReceiver,
    Scripted,
    connect_proxy,
)
from helpers.sending import Command


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            "HTTP/1.1 403 No\nContent-Length: 0\n\n",
            "HTTP 403. The request was for a connection to ",
        ),
        (
            "HTTP/1.1 502 No\nContent-Length: 0\n\n",
            "HTTP 502. The request was for a connection to ",
        ),
        ("SSH-2.0-OpenSSH_9.2\n\n", "does not speak HTTP."),
        ("", "closed the connection without a response."),
    ],
)
def test_a_proxy_that_does_not_go_along_is_named(
    command: Command, large_file: Path, monkeypatch: pytest.MonkeyPatch, answer: str, sentence: str
) -> None:
    with Scripted(lambda peer: peer.answer(answer)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        status, _, err = command("--retries", "0", "ws://server.example/", large_file)
    assert status == 1
    assert f"he proxy 127.0.0.1:{proxy.port} " in err
    assert sentence in err
    assert "Check the URL" not in err
    assert "use wss://" not in err


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with PerlReceiver() as receiver, connect_proxy("me:p@ss") as (port, asked):
        monkeypatch.setenv(variable, f"http://me:p%40ss@127.0.0.1:{port}")
        status, _, err = command(receiver.url, tmp_path / "a")
        assert status == 0, err
    assert asked == [f"localhost:{receiver.port}"]
    assert receiver.files[0].data == b"data"


def test_tls_goes_through_a_proxy(
    command: Command, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    pem, path = tmp_path / "ca.pem", tmp_path / "a.bin"
    authority.cert_pem.write_to_path(str(pem))
    path.write_bytes(b"data")
    with PerlReceiver(server_tls(authority)) as receiver, connect_proxy() as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        status, _, err = command("--ca", pem, receiver.url, path)
        assert status == 0, err
    assert asked == [f"localhost:{receiver.port}"]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY"])
def test_a_proxy_may_be_spoken_to_over_tls(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    authority: trustme.CA,
    tmp_path: Path,
    variable: str,
) -> None:
    pem, path = tmp_path / "ca.pem", tmp_path / "a.bin"
    authority.cert_pem.write_to_path(str(pem))
    path.write_bytes(data := some_bytes(1_000_000))
    # For wss it is TLS in TLS.
    server = server_tls(authority) if variable == "HTTPS_PROXY" else None
    with (
        PerlReceiver(server) as receiver,
        connect_proxy("me:pass", tls=server_tls(authority)) as (port, asked),
    ):
        monkeypatch.setenv(variable, f"https://me:pass@localhost:{port}")
        status, _, err = command("--ca", pem, receiver.url, path)
        assert status == 0, err
    assert asked == [f"localhost:{receiver.port}"]
    assert receiver.files[0].data == data


def test_a_proxy_whose_certificate_is_not_trusted_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with connect_proxy(tls=server_tls(authority)) as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{port}")
        status, _, err = command("wss://server.example/", tmp_path / "a")
    assert status == 1
    assert f"The certificate of the proxy localhost:{port} is not trusted" in err
    assert "--ca" in err
    assert not asked


def test_a_proxy_that_refuses_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with connect_proxy("me:right") as (port, _):
        monkeypatch.setenv("ALL_PROXY", f"http://me:wrong@127.0.0.1:{port}")
        status, _, err = command("ws://server.example/", tmp_path / "a")
    assert status == 1
    assert f"The proxy 127.0.0.1:{port} answered with HTTP 407" in err
    assert "wrong" not in err


def test_a_proxy_that_does_not_reach_the_server_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    with connect_proxy() as (port, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        status, _, err = command("--retries", "0", f"ws://127.0.0.1:{closed}/", tmp_path / "a")
    assert status == 1
    assert "answered with HTTP 502" in err


def test_a_proxy_that_is_not_there_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    status, _, err = command("--retries", "0", "ws://server.example/", tmp_path / "a")
    assert status == 1
    assert "Cannot connect to the proxy 127.0.0.1:1: connection refused." in err
