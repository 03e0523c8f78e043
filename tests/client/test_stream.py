"""Connecting over TCP, a unix socket and TLS: what works, and the error for what does not."""

import socket
import ssl
from pathlib import Path

import trustme
from helpers.certificates import server_tls
from helpers.clients import some_bytes
from helpers.receivers import (
    Peer,
    PerlReceiver,
    Scripted,
)
from helpers.sending import Command


def test_a_closed_port_is_told(command: Command, large_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, _, err = command("--retries", "0", f"ws://127.0.0.1:{port}/", large_file)
    assert status == 1
    assert (
        f"Cannot connect to the server at 127.0.0.1:{port}: connection refused. Is it running?"
        in err
    )


def test_a_socket_that_is_not_there_is_told(
    command: Command, large_file: Path, tmp_path: Path
) -> None:
    status, _, err = command("--retries", "0", f"ws+unix:{tmp_path}/none.sock", large_file)
    assert status == 1
    assert "none.sock: there is no such socket. Is it running?" in err


def test_a_name_that_does_not_resolve_is_told(command: Command, large_file: Path) -> None:
    status, _, err = command("--retries", "0", "ws://galileod.invalid/", large_file)
    assert status == 1
    assert "The host name of the server at galileod.invalid cannot be resolved" in err


def test_an_interface_that_is_not_there_is_told(command: Command, large_file: Path) -> None:
    status, _, err = command("ws://[fe80::1%25none]:1/", large_file)
    assert status == 1
    assert "Cannot connect to the server at [fe80::1%none]:1: " in err
    assert "its zone names no network interface of this machine." in err


def test_an_unknown_authority_is_told_and_not_tried_again(
    command: Command, authority: trustme.CA, large_file: Path
) -> None:
    context = server_tls(authority)

    def script(peer: Peer) -> None:
        raise AssertionError(peer)

    with Scripted(script, tls=context) as host:
        status, _, err = command(host.url, large_file)
    assert status == 1
    assert "certificate" in err
    assert "pass the certificate of its CA with --ca" in err
    assert "attempt" not in err


def test_a_certificate_for_another_host_is_told(
    command: Command, authority: trustme.CA, large_file: Path, tmp_path: Path
) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("elsewhere.example").configure_cert(context)

    with Scripted(lambda _: None, tls=context) as host:
        status, _, err = command("--ca", pem, host.url, large_file)
    assert status == 1
    assert "is not trusted: " in err


def test_tls_to_a_server_without_it_is_told(command: Command, large_file: Path) -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(100)
        peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.wait_for_end()

    with Scripted(script) as host:
        status, _, err = command("--retries", "0", host.url.replace("ws:", "wss:"), large_file)
    assert status == 1
    assert "use ws://" in err


def test_a_port_that_speaks_tls_is_told(
    command: Command, authority: trustme.CA, large_file: Path
) -> None:
    with PerlReceiver(server_tls(authority)) as receiver:
        status, _, err = command("--retries", "0", receiver.url.replace("wss:", "ws:"), large_file)
    assert status == 1
    assert "use wss://" in err


def test_a_tls_alert_is_known(command: Command, large_file: Path) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.sock.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    with Scripted(script) as host:
        status, _, err = command(host.url, large_file)
    assert status == 1
    assert (
        err
        == f"galileo-send: {large_file}: The server at 127.0.0.1:{host.port} uses TLS: use wss://.\n"
    )


def test_an_authority_that_is_another_is_told_as_such(
    command: Command, authority: trustme.CA, large_file: Path, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with Scripted(lambda _: None, tls=server_tls(authority)) as host:
        _, _, err = command("--ca", tmp_path / "other.pem", host.url, large_file)
    assert f"Its CA is not in {tmp_path}/other.pem." in err
    assert "--ca" not in err


def test_with_its_authority_a_server_is_trusted(
    command: Command, authority: trustme.CA, tmp_path: Path
) -> None:
    pem, path = tmp_path / "ca.pem", tmp_path / "a.bin"
    authority.cert_pem.write_to_path(str(pem))
    path.write_bytes(data := some_bytes(1_000_000))
    with PerlReceiver(server_tls(authority)) as receiver:
        status, _, err = command("--ca", pem, receiver.url, path)
        assert status == 0, err
    assert receiver.files[0].data == data


def test_a_unix_socket_is_spoken_to(command: Command, tmp_path: Path) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        head = peer.accept()
        assert head[""] == "GET /upload HTTP/1.1"
        assert head["host"] == "localhost"
        got.append(peer.take_file())
        peer.say(close=True)
        peer.goodbye()

    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script, unix=tmp_path / "s.sock") as host:
        status, _, err = command(host.url, tmp_path / "a")
    assert status == 0, err
    assert got == [b"data"]
