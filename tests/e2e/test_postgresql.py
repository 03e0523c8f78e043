"""A daemon with its ledger in PostgreSQL, and its files in a directory."""

import json
import random
import signal
import time
from pathlib import Path
from socket import gethostname
from typing import Final

import psycopg
import pytest
from helpers.clients import JavaScriptClient, ask, check_serves, some_bytes
from helpers.connecting import connected
from helpers.crashing import Uploads
from helpers.daemon import Daemon, Daemons, Settings, log_time, poll, run_galileod, write_config
from helpers.engines.postgresql import PASSWORD, Postgresql
from helpers.resuming import ResumingClient

pytestmark = pytest.mark.timeout(120)

DATA = some_bytes(3_000_000)
SENT = 2_100_000
SETTINGS: Final[Settings] = {"timeouts": {"close": 1}, "server": {"drain_timeout": 0.2}}


@pytest.fixture
def host(daemon: Daemons, ledger_url: str) -> Daemon:
    return daemon({**SETTINGS, "ledger": {"url": ledger_url}})


def random_path(length: int) -> str:
    """A path of so many bytes in steps of at most 100, which cannot be compressed."""
    letters = random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length - length // 101)
    steps = ["".join(letters[first : first + 100]) for first in range(0, len(letters), 100)]
    return "/".join(steps)


def galileod(host: Daemon, *arguments: str) -> str:
    done = run_galileod(*arguments, "--config", host.config)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_upload_is_stored_and_its_record_is_in_the_database(host: Daemon) -> None:
    check_serves(host)
    assert not (host.directory / ".galileod/ledger.sqlite3").exists()
    ((name, path),) = host.visible().items()
    lists = [json.loads(galileod(host, "files", "list", "--json"))]
    sums = [json.loads(galileod(host, "usage", "--json"))]
    assert host.stop() == 0
    lists.append(json.loads(galileod(host, "files", "list", "--json")))
    sums.append(json.loads(galileod(host, "usage", "--json")))
    assert lists[0] == lists[1]
    assert sums[0] == sums[1]
    ((file,), (user,)) = lists[0]["files"], sums[0]["users"]
    assert (file["path"], file["size"]) == (name, path.stat().st_size)
    assert (user["files"], user["bytes"]) == (1, path.stat().st_size)


def test_an_upload_that_was_broken_off_is_resumed_and_after_a_restart_too(host: Daemon) -> None:
    client = ResumingClient(host.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        attempt.cut()
    host.wait_for("upload.kept", offset=SENT)
    for end in (signal.SIGTERM, signal.SIGKILL):
        if end == signal.SIGTERM:
            host.stop()
        else:
            host.kill()
        host.start()
        client.url = host.url
        with client.attempt() as attempt:
            assert attempt.first["offset"] == SENT
            attempt.cut()
        host.wait_for("upload.kept", offset=SENT)
    with client.attempt() as attempt:
        assert attempt.finish() == client.stored()
    assert {name: path.read_bytes() for name, path in host.visible().items()} == {client.name: DATA}


def test_what_was_confirmed_survives_kills_and_the_sums_are_exact(
    daemon: Daemons, ledger_url: str
) -> None:
    moments = random.Random(1)
    host = daemon({"ledger": {"url": ledger_url}}, start=False)
    uploads, checked = Uploads(host), set[str]()
    with uploads.running():
        for _ in range(5):
            host.start()
            uploads.up.set()
            uploads.wait_for(1)
            time.sleep(moments.uniform(0.02, 0.3))  # the moment of the kill is what is tested
            host.kill()
            uploads.up.clear()
            uploads.check_files(host.directory, checked)
    host.start()
    files = host.visible()
    # A file that was published in the moment of a kill may count for no user.
    users = json.loads(galileod(host, "usage", "--json"))["users"]
    sums = {key: sum(user[key] for user in users) for key in users[0] if key != "user"}
    size = sum(path.stat().st_size for path in files.values())
    assert {key: value for key, value in sums.items() if value} == {
        "files": len(files), "bytes": size,
    }  # fmt: skip
    listed = json.loads(galileod(host, "files", "list", "--json"))["files"]
    assert {row["path"] for row in listed} == set(files)


def test_a_daemon_goes_on_after_its_database_was_restarted(
    daemon: Daemons, own_postgresql: Postgresql
) -> None:
    host = daemon({**SETTINGS, "ledger": {"url": own_postgresql.new_database()}})
    check_serves(host)
    own_postgresql.kill("server")
    own_postgresql.spawn_server()
    check_serves(host)
    (user,) = json.loads(galileod(host, "usage", "--json"))["users"]
    assert (user["files"], user["uploads"]) == (2, 0)


def test_the_database_is_killed_while_files_are_uploaded(
    daemon: Daemons, own_postgresql: Postgresql
) -> None:
    moments = random.Random(2)
    # With a quota each upload is reserved.
    quota = {"total_files": 100_000}
    host = daemon({"ledger": {"url": own_postgresql.new_database()}, "quota": quota})
    uploads = Uploads(host)
    with uploads.running():
        uploads.up.set()
        for _ in range(3):
            uploads.wait_for(3)
            time.sleep(moments.uniform(0.02, 0.3))  # the moment of the kill is what is tested
            own_postgresql.kill("server")
            own_postgresql.spawn_server()
        uploads.wait_for(3)
    uploads.check_files(host.directory, set())
    check_serves(host)  # what could not be recorded is made up for before

    def sums() -> dict[str, int]:
        users = json.loads(galileod(host, "usage", "--json"))["users"]
        return {key: sum(user[key] for user in users) for key in ("files", "uploads", "reserved")}

    expected = {"files": len(host.visible()), "uploads": 0, "reserved": 0}
    poll("exact sums", lambda: sums() == expected, lambda: str((sums(), expected)))
    host.stop()
    host.start()
    assert sums() == expected


# What is wrong.


@pytest.fixture
def config(tmp_path: Path, postgresql: Postgresql) -> Path:
    """Asks for a password."""
    url = postgresql.new_database(user=postgresql.server.access_key)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "password").chmod(0o600)
    settings: Settings = {
        "server": {"listen": ["127.0.0.1:0"]},
        "storage": {"directory": str(tmp_path / "files")},
        "ledger": {"url": url, "password_file": str(tmp_path / "password")},
    }
    return write_config(tmp_path / "galileod.toml", settings)


def test_the_database_is_tried_and_not_changed(config: Path) -> None:
    url = config.read_text().split('url = "')[1].split('"')[0]
    for _ in range(2):
        status, steps, errors = connected(config)
        assert (status, errors) == (0, [])
        assert steps[1:] == [
            f"ledger: use {url}: ok",
            f'ledger: use the name "{gethostname()}": ok',
            "ledger: find its files: ok",
        ]
    done = run_galileod("usage", "--config", config)
    assert "there is no ledger in the database yet" in done.stderr


def test_a_database_that_cannot_be_used_is_told_by_each_command(config: Path) -> None:
    (config.parent / "password").write_text("not it")
    url = config.read_text().split('url = "')[1].split('"')[0]
    status, _, errors = connected(config)
    assert status == 1
    assert errors[0].startswith(f"galileod: ledger: use {url}: the database cannot be reached: ")
    refused = "password authentication failed"
    assert refused in errors[0]
    for command in ("usage", "files"):
        done = run_galileod(command, "--config", config)
        assert done.returncode == 1
        assert done.stderr.startswith(f"galileod: {url}: the database cannot be reached: ")
        assert (done.stderr.count("\n"), refused in done.stderr) == (1, True)
    done = run_galileod("serve", "--config", config)
    assert done.returncode == 1
    assert refused in done.stderr
    assert "not it" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_the_password_that_others_may_read_is_refused(config: Path) -> None:
    (config.parent / "password").chmod(0o644)
    done = run_galileod("check-config", "--config", config)
    assert done.returncode == 2
    assert f"ledger.password_file: {config.parent}/password: has mode 0644" in done.stderr


def test_a_daemon_that_cannot_use_its_database_keeps_the_interrupted_uploads(
    host: Daemon, ledger_url: str
) -> None:
    client = ResumingClient(host.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        attempt.cut()
    host.wait_for("upload.kept", offset=SENT)
    host.stop()
    text = host.config.read_text()
    host.config.write_text(text.replace(ledger_url, "postgresql://127.0.0.1:1/x"))
    since = log_time()
    host.spawn()
    assert "cannot be reached" in host.wait_for("server.waiting", since=since)["reason"]
    assert host.stop() == 0
    host.config.write_text(text)
    host.start()
    client.url = host.url
    with client.attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert attempt.finish() == client.stored()


def test_a_start_waits_for_the_database(daemon: Daemons, own_postgresql: Postgresql) -> None:
    ledger = {"url": own_postgresql.new_database(), "node": "one"}
    host = daemon({**SETTINGS, "ledger": ledger})
    assert host.stop() == 0
    own_postgresql.kill("server")
    host.spawn()
    waiting = host.wait_for("server.waiting")
    assert waiting["reason"].startswith("the database cannot be reached: ")
    assert waiting["node"] == "one"
    assert host.stop() == 0  # it ends at once if it is told to
    host.spawn()
    host.wait_for("server.waiting")
    own_postgresql.spawn_server()
    host.listen = host.wait_for("server.started")["listen"]
    check_serves(host)


def test_a_start_does_not_wait_for_what_an_administrator_has_to_mend(
    daemon: Daemons, own_postgresql: Postgresql
) -> None:
    url = own_postgresql.new_database()
    host = daemon({**SETTINGS, "ledger": {"url": url}})
    assert host.stop() == 0
    missing = url.rpartition("/")[0] + "/missing"
    write_config(host.config, {"ledger": {"url": missing, "node": "one"}})
    done = run_galileod("serve", "--config", host.config)
    assert done.returncode == 1
    failed = json.loads(done.stderr.splitlines()[-1])
    assert (failed["event"], failed["node"]) == ("server.failed", "one")
    assert 'database "missing" does not exist' in failed["reason"]


def test_clients_are_not_told_where_the_database_is(
    daemon: Daemons, own_postgresql: Postgresql
) -> None:
    url = own_postgresql.new_database()
    host = daemon({**SETTINGS, "ledger": {"url": url}})
    own_postgresql.kill("server")
    name = url.rpartition("/")[2]
    answer = JavaScriptClient(host.url, DATA[:1000]).run()
    assert answer.ending == "failed"
    assert name not in str(answer)
    line = host.wait_for("upload.failed", code="busy")
    assert f'"{name}" at 127.0.0.1:' in line["reason"]
    reply = ask(host, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
    assert reply.status == 503
    assert reply.body.strip() == b"The storage does not work: the database cannot be reached."
    assert name in host.wait_for("storage.failing")["reason"]
    done = run_galileod("usage", "--config", host.config)
    assert done.stderr.startswith(f"galileod: {url}: the database cannot be reached: ")
    own_postgresql.spawn_server()
    host.stop()
    host.start()  # with a log without errors
    check_serves(host)


def test_a_file_whose_path_the_ledger_cannot_have_is_refused_before_its_data_is_sent(
    daemon: Daemons, ledger_url: str
) -> None:
    first, name = random_path(600), random_path(90)
    layout = f"{first}/{{folder}}/{{name}}"
    host = daemon({"ledger": {"url": ledger_url}, "storage": {"layout": layout}})
    longest = 2600 - len(" (9999)") - len(first) - len(name) - 2
    for more, size in ((1, 100), (1, 2_000_000), (0, 100), (0, 2_000_000)):
        folder = random_path(longest + more)
        client = ResumingClient(host.url, some_bytes(size), name=name, more={"folder": folder})
        with client.attempt() as attempt:
            if more:
                assert (attempt.first["code"], attempt.first["fatal"]) == ("bad_name", True)
                assert "the ledger accepts 2600" in attempt.first["error"]
            else:
                assert attempt.finish() == client.stored(path=f"{first}/{folder}/{name}")
    (user,) = json.loads(galileod(host, "usage", "--json"))["users"]
    assert (user["files"], user["uploads"]) == (2, 0)
    assert len(json.loads(galileod(host, "files", "list", "--json"))["files"]) == 2


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("REVOKE INSERT ON uploads FROM trusted", "GRANT INSERT ON uploads"),
        ("DROP TABLE asks CASCADE", "the table asks is missing"),
    ],
)
def test_a_database_that_somebody_has_changed_is_reported_by_the_health_check(
    host: Daemon, ledger_url: str, harm: str, reason: str
) -> None:
    def status() -> int:
        return ask(host, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").status

    assert status() == 200
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute(harm.encode())
    poll("the health check fails", lambda: status() == 503)
    assert reason in host.wait_for("storage.failing")["reason"]
    done = run_galileod("check-config", "--connect", "--config", host.config)
    assert done.returncode == 1
    assert reason in done.stdout + done.stderr


def test_usage_and_files_of_a_node_that_does_not_answer_are_read_from_the_database(
    host: Daemon,
) -> None:
    check_serves(host)
    (name,) = host.visible()
    host.send_signal(signal.SIGSTOP)
    try:
        (user,) = json.loads(galileod(host, "usage", "--json"))["users"]
        (file,) = json.loads(galileod(host, "files", "list", "--json"))["files"]
    finally:
        host.send_signal(signal.SIGCONT)
    assert (user["files"], file["path"]) == (1, name)


def test_the_directory_of_nodes_is_not_taken_for_one_that_was_never_used(host: Daemon) -> None:
    for command in (("usage",), ("files", "list"), ("uploads",)):
        said = run_galileod(*command, "--directory", host.directory)
        assert said.returncode == 1
        assert "it belongs to nodes: name the configuration of one with --config" in said.stderr
