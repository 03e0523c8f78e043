"""What the client makes of answers that no engine gives when a test wants them; without engines."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.answering import Answer, Heard, answering, refused
from helpers.daemon import write_config

from galileod.storage.errors import NoSpaceError, StorageBusyError, StorageError
from galileod.storage.s3 import session, transport
from galileod.storage.s3.client import COMPLETE_PAUSES, Client
from galileod.storage.s3.errors import NOT_S3, NoSuchUploadError, UncertainError
from galileod.storage.s3.session import ATTEMPTS
from galileod.storage.s3.transport import BLOCK, Body
from galileod.storage.settings import S3

OpenClient = Callable[[str], Client]
STORED = Answer(200, headers={"ETag": '"1"'})
KEYS = "[default]\naws_access_key_id = AKIDAKID\naws_secret_access_key = {}\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(0o600)
    path.write_text(KEYS.format("hidden"))
    return path


@pytest.fixture
def open_client(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenClient]:
    """Call it with a URL. Its client repeats requests at once."""
    at_once = SimpleNamespace(sleep=lambda _seconds: None)
    monkeypatch.setattr("botocore.endpoint.time", at_once)
    monkeypatch.setattr("galileod.storage.s3.client.time", at_once)
    with ExitStack() as stack:

        def start(url: str) -> Client:
            settings = S3(bucket="bucket", endpoint=url, credentials_file=str(keys))
            client = Client.open(settings, requests=1)
            stack.callback(client.close)
            return client

        yield start


@pytest.mark.parametrize("page", ["", "<html><p>Welcome</html>"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.put("a", b"data", {}, new=False),
        lambda client: client.create("a", {}),
        lambda client: client.upload_part("a", "1", 1, b"data"),
        lambda client: client.head("a"),
    ],
)
def test_a_web_server_is_no_object_storage(
    open_client: OpenClient, ask: Callable[[Client], object], page: str
) -> None:
    # botocore takes a page in place of an answer for a failure of the store.
    sentence = "is not the address of an object storage|the store has failed with status 500"
    with answering([Answer(200, page)]) as heard, pytest.raises(StorageError, match=sentence):
        ask(open_client(heard.url))


def put(client: Client) -> str:
    return client.put("a", b"data", {}, new=True)


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (refused(503, "SlowDown"), StorageBusyError, "the store asks for fewer requests"),
        (Answer(503), StorageBusyError, "the store asks for fewer requests"),
        (Answer(429), StorageBusyError, "the store asks for fewer requests"),
        (refused(507, "XMinioStorageFull"), NoSpaceError, "its quota is exhausted, or the"),
        (refused(403, "ExpiredToken"), StorageError, "the credentials have expired"),
        (
            refused(400, "AuthorizationHeaderMalformed"),
            StorageError,
            "the bucket is in another region: set storage.s3.region",
        ),
        (
            Answer(301, headers={"x-amz-bucket-region": "eu-north-1"}),
            StorageError,
            'the bucket is in the region "eu-north-1": set storage.s3.region',
        ),
        (
            Answer(302, headers={"Location": "https://s3.example.org/"}),
            StorageError,
            f"{NOT_S3}: the server redirects to https://s3.example.org/",
        ),
        (
            Answer(404, "<html>no such page</html>"),
            StorageError,
            f"{NOT_S3}: the server has answered with status 404 (",
        ),
        (
            refused(404, "NoSuchKey"),  # where the endpoint's path is taken for the bucket
            StorageError,
            f"{NOT_S3}: the server has answered with status 404 (",
        ),
        (
            refused(400, "Odd", Message="no \x9b way " + "x" * 300),
            StorageError,
            "the store has refused the request with status 400, Odd: no \\x9b way xxx",
        ),
        (
            refused(500, "InternalError"),
            UncertainError,
            "the store has failed with status 500, InternalError: without a reason",
        ),
    ],
)
def test_an_answer_becomes_a_sentence(
    open_client: OpenClient, answer: Answer, kind: type[StorageError], sentence: str
) -> None:
    with answering([answer]) as heard, pytest.raises(StorageError) as caught:
        put(open_client(heard.url))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(f' (PutObject, bucket "bucket" at {heard.url})')
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_request_is_repeated_while_the_store_is_busy(open_client: OpenClient) -> None:
    busy = refused(503, "SlowDown")
    with answering([busy] * (ATTEMPTS - 1) + [STORED]) as heard:
        assert put(open_client(heard.url)) == '"1"'
    assert len(heard.requests) == ATTEMPTS


def test_a_request_is_repeated_as_often_although_many_have_failed(open_client: OpenClient) -> None:
    failed = refused(503, "InternalError")
    with answering([failed] * (100 * ATTEMPTS + 1) + [STORED]) as heard:
        client = open_client(heard.url)
        for _ in range(100):
            with pytest.raises(StorageError):
                put(client)
        assert put(client) == '"1"'
    assert len(heard.requests) == 100 * ATTEMPTS + 2


def test_keys_that_have_expired_are_read_again(open_client: OpenClient, keys: Path) -> None:
    with answering([refused(403, "ExpiredToken"), STORED]) as heard:
        client = open_client(heard.url)
        status = keys.stat()
        keys.write_text(KEYS.format("of now"))
        os.utime(keys, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert put(client) == '"1"'
    signatures = [headers["Authorization"] for _, _, headers in heard.requests]
    assert len(set(signatures)) == 2


def test_keys_that_have_expired_and_are_the_same_are_told(open_client: OpenClient) -> None:
    with answering([refused(403, "ExpiredToken")]) as heard:
        with pytest.raises(StorageError, match="the credentials have expired"):
            put(open_client(heard.url))
        assert len(heard.requests) == 1


def test_keys_that_are_refused_and_cannot_be_read_are_told_with_both(
    open_client: OpenClient, keys: Path
) -> None:
    with answering([refused(403, "InvalidAccessKeyId")]) as heard:
        client = open_client(heard.url)
        keys.unlink()
        with pytest.raises(StorageError, match=rf"not known there.*; {keys}: cannot be read: No"):
            put(client)


def complete(client: Client) -> None:
    client.complete("a", "1", [(1, '"1"')])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(200, refused(200, "InternalError").body), UncertainError),
        (refused(500, "InternalError"), UncertainError),
        (Answer(502), UncertainError),
        (refused(404, "NoSuchUpload"), NoSuchUploadError),
        (refused(400, "InvalidPart"), NoSuchUploadError),
        (refused(400, "InvalidPartOrder"), NoSuchUploadError),
        (refused(400, "EntityTooSmall"), NoSuchUploadError),
        (refused(400, "Odd"), StorageError),
        (refused(503, "SlowDown"), StorageBusyError),
    ],
)
def test_a_complete_that_fails_says_whether_it_is_certain(
    open_client: OpenClient, answer: Answer, kind: type[StorageError]
) -> None:
    with answering([answer]) as heard, pytest.raises(StorageError) as caught:
        complete(open_client(heard.url))
    assert type(caught.value) is kind
    tries = 1 + len(COMPLETE_PAUSES) if kind is StorageBusyError else 1
    assert len(heard.requests) == tries


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (refused(503, "SlowDown"), UncertainError),
        (refused(403, "AccessDenied"), UncertainError),
        (refused(507, "XMinioStorageFull"), UncertainError),
    ],
)
def test_a_put_is_uncertain_if_any_of_its_attempts_was(
    open_client: OpenClient, last: Answer, kind: type[StorageError]
) -> None:
    with answering([refused(500, "InternalError"), last]) as heard:
        with pytest.raises(StorageError) as caught:
            put(open_client(heard.url))
        assert type(caught.value) is kind
    with answering([last]) as heard, pytest.raises(StorageError) as caught:
        put(open_client(heard.url))  # in the same thread
    assert type(caught.value) is not UncertainError


def test_a_complete_is_repeated_while_the_store_is_busy(open_client: OpenClient) -> None:
    made = Answer(
        200, "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"
    )
    with answering([refused(503, "SlowDown"), made]) as heard:
        complete(open_client(heard.url))
    assert len(heard.requests) == 2


def test_each_part_has_its_md5_where_nothing_else_protects_it(open_client: OpenClient) -> None:
    def sent(client: Client, heard: Heard) -> list[str | None]:
        client.conditional = False
        client.upload_part("a", "1", 1, b"data")
        client.put("a", b"data", {}, new=False)
        return [headers.get("Content-MD5") for _, _, headers in heard.requests]

    md5 = "jXd/OF09/siBXSD3SWAm3A=="
    with answering([STORED]) as heard:
        assert sent(open_client(heard.url), heard) == [None, md5]
    with answering([STORED]) as heard:
        client = open_client(heard.url)
        client._checks_parts = True
        assert sent(client, heard) == [md5, md5]


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("http://127.8.9.10:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
        ("http://192.0.2.1", True),
        ("http://s3.example.org", True),
        ("https://s3.example.org", False),
    ],
)
def test_plain_http_to_another_machine_protects_nothing(
    open_client: OpenClient, url: str, exposed: bool
) -> None:
    assert open_client(url)._checks_parts is exposed


def test_a_payload_is_not_signed_and_its_consent_not_awaited(open_client: OpenClient) -> None:
    with answering([STORED]) as heard:
        open_client(heard.url).upload_part("a", "1", 1, bytes(BLOCK + 1))
    ((method, path, headers),) = heard.requests
    assert method == "PUT"
    assert path in {"/bucket/a?partNumber=1&uploadId=1", "/bucket/a?uploadId=1&partNumber=1"}
    assert headers["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
    assert headers["Content-Length"] == str(BLOCK + 1)
    assert not {"Expect", "x-amz-checksum-crc32", "Content-Encoding"} & headers.keys()


def test_a_file_of_keys_that_cannot_be_used_is_named_where_the_old_ones_are_refused(
    open_client: OpenClient, keys: Path
) -> None:
    # Some stores answer so to keys that they do not know.
    with answering([refused(403, "AccessDenied")]) as heard:
        client = open_client(heard.url)
        keys.chmod(0o644)
        with pytest.raises(StorageError) as caught:
            put(client)
    assert "access is denied" in caught.value.reason
    assert f"; {keys}: has mode 0644" in caught.value.place


def test_a_server_that_takes_no_data_is_told(
    open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = open_client(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StorageError, match="the object storage does not take data any more"):
            client.upload_part("a", "1", 1, bytes(32 << 20))


def test_a_server_that_does_not_answer_is_told(
    open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "READ_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = open_client(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UncertainError, match="does not answer in time") as caught:
            put(client)
    assert "(" not in caught.value.reason
    assert client.endpoint in caught.value.place


def test_sending_has_a_limit_of_its_own_for_each_block(
    open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[int, float | None]] = []
    send = transport._HttpConnection.__bases__[0].send

    def record(self: "socket.socket", data: bytes) -> None:
        limits.append((len(data), self.sock.gettimeout()))  # type: ignore[attr-defined]
        send(self, data)

    monkeypatch.setattr(transport._HttpConnection.__bases__[0], "send", record)
    with answering([STORED]) as heard:
        client = open_client(heard.url)
        for _ in range(2):  # the second on the same connection
            client.upload_part("a", "1", 1, bytes(3 * BLOCK))
    assert {limit for _, limit in limits} == {transport.SEND_SECONDS}
    assert [length for length, _ in limits].count(BLOCK) == 6


def test_a_body_is_read_in_slices_without_copies() -> None:
    data = bytearray(2 * BLOCK + 1)
    body = Body(data)
    slices = [body.read(16), body.read(), body.read(), body.read()]
    assert [len(each) for each in slices] == [BLOCK, BLOCK, 1, 0]
    assert all(each.obj is data for each in slices)
    assert body.seek(0, 2) == body.tell() == len(data)
    assert body.seek(-1, 1) == 2 * BLOCK
    assert body.seek(5) == 5
    assert len(body.read()) == BLOCK


IMPORTS = """
import sys
{}
loaded = {{"botocore", "urllib3", "galileod.storage.s3.library"}} & sys.modules.keys()
assert not loaded, loaded
"""


PREPARE = """
from galileod.config.file import Reading, load
from galileod.daemon.prepare import prepare
prepare(Reading(load(sys.argv[1])))
"""


@pytest.mark.parametrize(
    "program",
    [
        "import galileod",
        "import galileod.cli.main, galileod.daemon.run, galileod.daemon.connecting",
        "import galileod.client.api, galileod.client.command.main",
        PREPARE,
    ],
)
def test_botocore_is_loaded_only_by_the_backend(tmp_path: Path, keys: Path, program: str) -> None:
    s3 = {"bucket": "bucket", "credentials_file": str(keys)}
    storage = {"backend": "s3", "directory": str(tmp_path), "s3": s3}
    config = write_config(tmp_path / "galileod.toml", {"storage": storage})
    run = [sys.executable, "-c", IMPORTS.format(program), str(config)]
    subprocess.run(run, check=True, timeout=60)


def test_without_botocore_the_extra_is_named(tmp_path: Path, keys: Path) -> None:
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] == 'botocore': raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from galileod.storage.errors import StorageError\n"
        "try:\n"
        "    import galileod.storage.s3.client\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    run = [sys.executable, "-c", program]
    said = subprocess.run(run, check=True, timeout=60, capture_output=True, text=True).stdout
    assert said.startswith('storage.backend = "s3" needs the Python package botocore: ')
