"""An upload outlives its connection, its daemon, and a power failure."""

import json
import os
import signal

import pytest
from helpers.clients import (
    JavaScriptClient,
    hear,
    open_websocket,
    say,
    some_bytes,
)
from helpers.daemon import Daemon, Daemons, log_time, poll
from helpers.resuming import ResumingClient, change_ledger, read_ledger, sha1

SIZE = 3_000_000
DATA = some_bytes(SIZE)
SENT = 2_100_000
CUT_CHUNK = 123_457


@pytest.fixture
def host(daemon: Daemons) -> Daemon:
    """With short waits for clients that do not end."""
    return daemon({"timeouts": {"close": 1}, "server": {"drain_timeout": 0.2}})


def client_of(host: Daemon, data: bytes = DATA, **more: object) -> ResumingClient:
    return ResumingClient(host.url, data, more=more)


def interrupt(client: ResumingClient, host: Daemon, sent: int = SENT) -> str:
    """Send a part of the file, and break the connection off; returns the upload's id."""
    since = log_time()
    with client.attempt() as attempt:
        assert attempt.first["offset"] == 0
        attempt.send(sent)
        attempt.cut()
    line = host.wait_for("upload.kept", since=since, name=client.name)
    assert (line["offset"], line["code"]) == (sent, "disconnected")
    return str(line["upload"])


def resume(client: ResumingClient, offset: int) -> None:
    with client.attempt() as attempt:
        assert attempt.first["offset"] == offset
        assert attempt.finish() == client.stored()


def assert_stored_once(host: Daemon, *clients: ResumingClient) -> None:
    assert {name: path.read_bytes() for name, path in host.visible().items()} == {
        client.name: client.data for client in clients
    }
    poll("an empty spool", lambda: not host.spooled())


def test_the_first_signal_says_what_is_agreed_where_it_begins_and_how_long_it_is_kept(
    host: Daemon,
) -> None:
    with client_of(host).attempt() as attempt:
        size = attempt.first.pop("chunksize")
        assert attempt.first == {"ready": True, "can": ["resume"], "offset": 0, "keep": 86400}
        assert size > 0


def test_a_lost_connection_costs_nothing_that_has_come(host: Daemon) -> None:
    client = client_of(host)
    upload = interrupt(client, host)
    assert host.visible() == {}
    with client.attempt() as attempt:
        first = attempt.first
        assert (first["offset"], first["keep"]) == (SENT, 86400)
        assert first["check"] == {"type": "sha1", "value": sha1(DATA[:SENT])}
        line = host.wait_for("upload.resumed", upload=upload)
        assert line["offset"] == SENT
        assert attempt.finish() == client.stored()
    line = host.wait_for("upload.stored", upload=upload)
    assert line["sha1"] == sha1(DATA)
    assert_stored_once(host, client)


def test_what_came_of_a_chunk_that_was_cut_off_counts(host: Daemon) -> None:
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send_part_of_chunk(CUT_CHUNK)
        attempt.cut()
    host.wait_for("upload.kept", name=client.name, offset=CUT_CHUNK)
    resume(client, CUT_CHUNK)
    assert_stored_once(host, client)


def test_it_goes_on_after_many_breaks(host: Daemon) -> None:
    client = client_of(host)
    for part in range(1, 10):
        since = log_time()
        with client.attempt() as attempt:
            assert attempt.first["offset"] == (part - 1) * 300_000
            attempt.send(part * 300_000)
            attempt.reset() if part % 2 else attempt.cut()
        if part % 2:
            # A reset may overtake what was sent.
            line = host.wait_for("upload.kept", since=since, name=client.name)
            with client.attempt() as attempt:
                assert attempt.first["offset"] == line["offset"]
                attempt.send(part * 300_000)
                attempt.cut()
        host.wait_for("upload.kept", since=since, name=client.name, offset=part * 300_000)
    resume(client, 2_700_000)
    assert_stored_once(host, client)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_on_after_a_restart_and_is_verified_as_a_whole(
    host: Daemon, how: signal.Signals
) -> None:
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(SENT)
        poll("the data", lambda: [path for path in spool_files(host) if path == SENT])
        host.send_signal(how)
        host.wait() if how == signal.SIGTERM else host.kill()
    host.start()
    client = client.at(host.url)
    with client.attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert "check" not in attempt.first
        assert attempt.finish(hash={"type": "sha1", "value": sha1(DATA[1:])})["code"] == (
            "hash_mismatch"
        )
    poll("an empty spool", lambda: not host.spooled())
    resume(client, 0)
    assert_stored_once(host, client)


def spool_files(host: Daemon) -> list[int]:
    folder = host.directory / ".galileod" / "spool"
    return [(folder / name).stat().st_size for name in host.spooled()]


def test_a_drain_keeps_what_does_not_end_in_time_and_tells_the_client(daemon: Daemons) -> None:
    host = daemon({"server": {"drain_timeout": 0.1}})
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(SENT)
        host.send_signal(signal.SIGTERM)
        last = attempt.last()
    assert (last["code"], last["kept"]) == ("shutting_down", 86400)
    assert host.wait() == 0
    host.start()
    client = client.at(host.url)
    with client.attempt() as attempt:
        assert attempt.first["offset"] > 0
        assert attempt.finish() == client.stored()
    assert_stored_once(host, client)


def test_after_a_power_failure_it_goes_on_at_the_checkpoint(host: Daemon) -> None:
    client = client_of(host)
    upload = interrupt(client, host)
    host.kill()
    durable = 1_000_000
    spooled = host.directory / ".galileod" / "spool" / upload
    with spooled.open("r+b") as file:  # as a filesystem may leave it
        file.seek(durable)
        file.write(bytes(SENT - durable))
    change_ledger(host, "UPDATE uploads SET boot = 'another', durable = ?", durable)
    host.start()
    client = client.at(host.url)
    interrupted_again = log_time()
    with client.attempt() as attempt:
        assert attempt.first["offset"] == durable
        attempt.send(durable + 500_000)
        attempt.cut()
    host.wait_for("upload.kept", since=interrupted_again, name=client.name)
    resume(client, durable + 500_000)
    assert_stored_once(host, client)


def test_a_power_failure_that_loses_the_row_begins_anew(host: Daemon) -> None:
    client = client_of(host)
    interrupt(client, host)
    host.kill()
    change_ledger(host, "DELETE FROM uploads")
    host.start()
    assert host.spooled() == []
    client = client.at(host.url)
    resume(client, 0)
    assert_stored_once(host, client)


@pytest.mark.parametrize("names", ["the name only", "both names"])
def test_what_was_published_before_a_crash_is_stored_and_never_written_to(
    host: Daemon, names: str
) -> None:
    client = client_of(host)
    upload = interrupt(client, host, SIZE)
    host.kill()
    spooled = host.directory / ".galileod" / "spool" / upload
    published = host.directory / client.name
    if names == "both names":
        # The row `publishing` is lost as well.
        os.link(spooled, published)
    else:
        spooled.rename(published)
        state = published.stat()
        identity = f"{state.st_ino}-{state.st_mtime_ns}".encode()
        change_ledger(host, "UPDATE uploads SET inode = ?, offset = NULL, until = NULL", identity)
    host.start()
    client = client.at(host.url)
    with open_websocket(client.url) as websocket:
        client.introduce(websocket)
        assert hear(websocket) == client.stored(can=["resume"])
    assert_stored_once(host, client)


@pytest.mark.parametrize("size", [0, 5, SIZE])
def test_a_lost_close_doubles_nothing_for_a_file_of_any_size(host: Daemon, size: int) -> None:
    client = client_of(host, DATA[:size])
    with client.attempt() as attempt:
        attempt.send(size)
        say(attempt.websocket, finished=True)
        attempt.cut()
    host.wait_for("upload.stored", name=client.name)
    for _ in range(2):
        with client.attempt() as attempt:
            assert attempt.first == client.stored(can=["resume"])
    host.stop()
    host.start()
    client = client.at(host.url)
    with client.attempt() as attempt:
        assert attempt.first == client.stored(can=["resume"])
    assert_stored_once(host, client)


def test_a_small_file_and_one_without_a_byte_are_not_kept(host: Daemon) -> None:
    for size, sent in ((500_000, 300_000), (SIZE, 0)):
        client, since = client_of(host, DATA[:size]), log_time()
        with client.attempt() as attempt:
            attempt.send(sent)
            attempt.cut()
        host.wait_for("upload.failed", since=since, name=client.name, code="disconnected")
        resume(client, 0)


def test_the_newer_connection_takes_over(host: Daemon) -> None:
    client = client_of(host)
    with client.attempt() as older:
        older.send(SENT)
        poll("the data", lambda: [size for size in spool_files(host) if size == SENT])
        with client.attempt() as newer:
            last = older.last()
            assert (last["code"], last["fatal"]) == ("taken_over", True)
            assert "kept" not in last
            assert newer.first["offset"] == SENT
            assert newer.finish() == client.stored()
    host.wait_for("upload.taken_over", name=client.name)
    assert_stored_once(host, client)


@pytest.mark.parametrize(
    "other",
    [{"name": "other.bin"}, {"size": SIZE - 1}, {"modified": 7}, {"folder": "june"}],
)
@pytest.mark.parametrize("state", ["running", "kept", "stored"])
def test_a_key_is_not_valid_for_another_file_and_disturbs_nothing(
    host: Daemon, other: dict[str, object], state: str
) -> None:
    client = client_of(host)

    def refused() -> None:
        with open_websocket(client.url) as websocket:
            client.introduce(websocket, **other)
            answer = hear(websocket)
        assert (answer["code"], answer["can"]) == ("bad_metadata", ["resume"])
        assert client.key not in json.dumps(answer)
        assert host.wait_for("upload.failed", code="bad_metadata")["upload"]

    if state == "running":
        with client.attempt() as attempt:
            attempt.send(SENT)
            refused()
            assert attempt.finish() == client.stored()
    else:
        interrupt(client, host)
        if state == "stored":
            resume(client, SENT)
        refused()
        if state == "kept":
            resume(client, SENT)
    assert_stored_once(host, client)


@pytest.mark.parametrize("sent", [0, SENT, SIZE])
def test_abandon_discards_at_once(host: Daemon, sent: int) -> None:
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(sent)
        say(attempt.websocket, abandon=True, file=0)
        last = attempt.last()
    assert (last["code"], last["fatal"]) == ("abandoned", True)
    assert "kept" not in last
    poll("an empty spool", lambda: not host.spooled())
    host.wait_for("upload.abandoned", name=client.name, offset=sent)
    resume(client, 0)
    assert_stored_once(host, client)


@pytest.mark.parametrize("state", ["unknown", "kept", "running", "stored"])
def test_abandon_in_the_metadata_discards_what_is_kept(host: Daemon, state: str) -> None:
    client = client_of(host)

    def abandon() -> object:
        with open_websocket(client.url) as websocket:
            client.introduce(websocket, abandon=True)
            answer = hear(websocket)
        return answer.get("code") or answer.get("close")

    if state == "running":
        with client.attempt() as attempt:
            attempt.send(SENT)
            assert abandon() == "abandoned"
            assert attempt.last()["code"] == "taken_over"
    else:
        if state != "unknown":
            interrupt(client, host)
        if state == "stored":
            resume(client, SENT)
        assert abandon() == (True if state == "stored" else "abandoned")
    poll("an empty spool", lambda: not host.spooled())
    if state != "stored":
        resume(client, 0)
    assert_stored_once(host, client)


def test_what_the_client_got_wrong_is_discarded(host: Daemon) -> None:
    for wrong in (b"x" * (SIZE + 1), "not JSON"):
        client = client_of(host)
        with client.attempt() as attempt:
            attempt.send(SENT)
            attempt.websocket.send(wrong)
            last = attempt.last()
        assert "kept" not in last, last
        with client.attempt() as attempt:
            assert attempt.first["offset"] == 0


def test_idle_and_a_missing_hash_keep_the_upload(daemon: Daemons) -> None:
    host = daemon({"timeouts": {"idle": 0.3}, "hash": {"required": True}})
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(SENT)
        last = attempt.last()
    assert (last["code"], last["kept"]) == ("idle", 86400)
    with client.attempt() as attempt:
        attempt.send(SIZE)
        say(attempt.websocket, finished=True)
        last = attempt.last()
    assert (last["code"], last["kept"]) == ("hash_required", 86400)
    with client.attempt() as attempt:
        assert attempt.first["offset"] == SIZE
        assert attempt.finish() == client.stored()
    assert_stored_once(host, client)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"can": ["ask"]},
        {"upload": "ab" * 16},
        {"abandon": True},
        {"can": ["resume"], "abandon": True},
        {"upload": "ab" * 16, "abandon": True},
    ],
)
def test_a_client_that_cannot_resume_gets_the_classic_dialogue(
    host: Daemon, more: dict[str, object]
) -> None:
    with open_websocket(host.url) as websocket:
        say(websocket, name="a.bin", size=SIZE, **more)
        first = hear(websocket)
        agreed: dict[str, object] = {"can": []} if "can" in more else {}
        assert first == {"ready": True, "chunksize": first["chunksize"], **agreed}
        websocket.socket.shutdown(1)
    line = host.wait_for("upload.failed", name="a.bin")
    assert line["code"] == "disconnected"
    poll("an empty spool", lambda: not host.spooled())


def test_without_any_extension_the_server_offers_nothing(daemon: Daemons) -> None:
    host = daemon({"resume": {"keep": 0}, "chunks": {"next": 0}})
    client = client_of(host)
    with client.attempt() as attempt:
        assert attempt.first.keys() == {"ready", "chunksize"}
        attempt.send(SENT)
        attempt.cut()
    host.wait_for("upload.failed", name=client.name, code="disconnected")
    poll("an empty spool", lambda: not host.spooled())
    outcome = JavaScriptClient(host.url, DATA).run()
    assert outcome.ending == "stored"


@pytest.mark.parametrize("how", ["longer", "longer than the file", "removed", "second name"])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_another_program_has_done_to_the_spool_costs_time_and_no_content(
    daemon: Daemons, how: str, *, restarted: bool
) -> None:
    host = daemon()
    client = client_of(host)
    upload = interrupt(client, host)
    if restarted:
        host.stop()
    path = host.directory / ".galileod" / "spool" / upload
    match how:
        case "removed":
            path.unlink()
        case "second name":
            os.link(path, host.folder / "backup")
        case _:
            with path.open("ab") as file:
                file.write(bytes(500_000 if how == "longer" else SIZE))
    if restarted:
        host.start()
        client = client.at(host.url)
    offset = SENT if how.startswith("longer") else 0
    with client.attempt() as attempt:
        assert attempt.first["offset"] == offset
        attempt.send(SIZE)
        say(attempt.websocket, finished=True)  # without a hash that would show the difference
        assert attempt.last() == client.stored()
    assert {path.read_bytes() for path in host.visible().values()} == {DATA}
    if not restarted:
        poll("an empty spool", lambda: not host.spooled())


def test_what_another_program_adds_after_a_restart_is_no_part_of_the_file(daemon: Daemons) -> None:
    host = daemon()
    client = client_of(host)
    upload = interrupt(client, host)
    host.stop()
    host.start()
    with (host.directory / ".galileod" / "spool" / upload).open("ab") as file:
        file.write(bytes(500_000))
    resume(client.at(host.url), 0)
    assert_stored_once(host, client)
    host.wait_for("upload.not_kept", upload=upload)


def test_turning_it_off_discards_what_is_kept_at_the_next_start(daemon: Daemons) -> None:
    host = daemon()
    interrupt(client_of(host), host)
    host.stop()
    config = host.config.read_text()
    host.config.write_text(f"{config}\n[resume]\nkeep = 0\n")
    host.start()
    assert host.spooled() == []
    host.stop()
    assert read_ledger(host, "SELECT * FROM uploads") == []


def test_the_key_stands_nowhere(daemon: Daemons) -> None:
    host = daemon({"log": {"level": "debug"}})
    client = client_of(host)
    interrupt(client, host)
    resume(client, SENT)
    with client.attempt() as attempt:
        assert client.key not in json.dumps(attempt.first)
    host.stop()
    assert client.key not in host.text()
    for path in (host.directory / ".galileod").rglob("*"):
        if path.is_file():
            assert client.key.encode() not in path.read_bytes(), path
