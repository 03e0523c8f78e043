"""A request that publishes a file and takes its time: clients wait, or the daemon is killed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.clients import JavaScriptClient, Signal
from helpers.daemon import poll
from helpers.engines.buckets import Bucket
from helpers.engines.troubles import Late, Troubles, reset_in_body
from helpers.resuming import ResumingClient
from helpers.s3_aftermath import AT_ONCE, Troubled, assert_intact, troubled
from helpers.s3_senders import Senders, content
from helpers.s3_store import MIB
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from galileod.storage.s3.session import ATTEMPTS

pytestmark = pytest.mark.timeout(120)


class Pinged(ClientConnection):
    """A connection that counts the Pings of the server."""

    pings = 0

    def process_event(self, event: object) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings += 1
        super().process_event(event)  # type: ignore[arg-type]


def test_a_client_is_pinged_until_its_file_is_complete(
    bucket: Bucket, troubles: Troubles, hasty: Troubled
) -> None:
    client = ResumingClient(hasty.url, content("a.bin", 12 * MIB), "a.bin")
    held = troubles.hold("Complete")
    with ThreadPoolExecutor(1) as threads, client.attempt(create_connection=Pinged) as attempt:
        ended = threads.submit(attempt.send_all)
        held.wait()
        connection = attempt.websocket
        assert isinstance(connection, Pinged)
        before = connection.pings
        poll("Pings", lambda: connection.pings >= before + 3)
        assert not ended.done()
        held.release()
        assert ended.result() == client.stored()
    assert list(bucket.contents()) == ["files/a.bin"]


def test_who_comes_again_while_a_file_is_completed_hears_that_it_is_stored(
    bucket: Bucket, troubles: Troubles, hasty: Troubled
) -> None:
    client = ResumingClient(hasty.url, content("a.bin", 12 * MIB), "a.bin")
    held = troubles.hold("Complete")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(sent, client)
        held.wait()
        again = threads.submit(sent, client)
        hasty.wait_for("connection.opened")
        held.release()
        assert again.result()["path"] == "a.bin"
        first.result()
    assert list(bucket.contents()) == ["files/a.bin"]


def sent(client: ResumingClient) -> Signal:
    with client.attempt() as attempt:
        return attempt.first if not attempt.first.get("ready") else attempt.send_all()


def test_a_file_that_is_published_late_replaces_no_confirmed_one(
    bucket: Bucket, troubles: Troubles, tmp_path: Path
) -> None:
    s3, replace = {"endpoint": troubles.server.url}, {"on_conflict": "replace"}
    with troubled(bucket, tmp_path, before=AT_ONCE, s3=s3, storage=replace) as host:
        late = Late()
        troubles.always(late, "Complete")
        troubles.on("Abort", *[reset_in_body] * ATTEMPTS)
        old, new = content("old", 12 * MIB), content("new", 11 * MIB)
        client = JavaScriptClient(host.start().url, old, "a.bin")
        assert client.run().code == "storage_failed"
        troubles.always(None, "Complete")
        senders = Senders(host)
        senders.send("a.bin", new)
        assert late.release() > 0
        assert_intact(senders, bucket, tmp_path)
        assert bucket.contents() == {"files/a.bin": new}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("kind", "size"), [("PutObject", 1000), ("Complete", 12 * MIB)])
def test_a_file_that_is_published_when_the_daemon_was_killed_is_stored_once(
    bucket: Bucket,
    troubles: Troubles,
    hasty: Troubled,
    tmp_path: Path,
    kind: str,
    size: int,
    late: bool,
) -> None:
    """`late`: when its client has sent the file again."""
    senders = Senders(hasty)
    held = troubles.hold(kind, before=True)
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(senders.send, "a.bin", content("a.bin", size))
        held.wait()
        hasty.kill()
        if not late:
            held.release()
            held.wait_for_end()
        hasty.start()
        sending.result()
        held.release()
        held.wait_for_end()
    assert_intact(senders, bucket, tmp_path)
