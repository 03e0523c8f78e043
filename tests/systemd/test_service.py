"""The life of galileod as a service, under a real systemd in a booted Debian 12.

One test in steps, since it is one story. Each step leaves the service as it found it, running.
"""

import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from helpers import debian
from helpers.clients import (
    JavaScriptClient,
    expect_fault,
    open_websocket,
    read_head,
    say,
    unique_name,
)
from helpers.container import Container
from helpers.daemon import poll
from helpers.missing import leave_out
from helpers.scraping import Scrape
from helpers.service import (
    ADDRESS,
    HALF,
    HEALTH,
    SERVICE,
    SOCKET,
    URL,
    HealthChecks,
    Service,
    finish,
    is_active,
    restarts,
)

INSTALLED: Final = (
    "/etc/systemd/system/galileod.service",
    "/etc/systemd/system/galileod.socket",
    "/etc/sysusers.d/galileod.conf",
)


def documented_commands() -> list[str]:
    """What README tells an administrator to type, from the bare server to the running service."""
    readme = (debian.REPOSITORY / "README.md").read_text()
    _, _, section = readme.partition("## Install it as a service")
    block = section.split("```")[1]
    return [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]


def install(service: Service) -> None:
    commands = documented_commands()
    assert commands[0].startswith("apt install")  # the Debian of these tests has what they need
    said = ""
    for command in commands[1:]:
        # The wheel of this source stands for the source; the network has no index.
        line = command.replace(
            "pip install .", "pip install --no-index --find-links /wheels galileosend"
        )
        said = service.run("sh", "-e", "-c", line)
    assert said.endswith("ok\n")  # of /healthz, at the end
    for path in INSTALLED:
        assert service.container.path(path).exists()
    assert "galileod" in service.run("id", "galileod")
    assert service.show("StatusText") == "0 uploads running"
    assert {line["level"] for line in service.log()} == {"info"}


def check_units(service: Service) -> None:
    units = [path for path in INSTALLED if "/system/" in path]
    assert service.run("systemd-analyze", "verify", *units) == ""
    service.run("systemd-analyze", "security", "--offline=yes", "--threshold=15", units[0])


def keep_the_configuration_from_others(service: Service) -> None:
    """It may hold passwords of a hook's."""
    said = service.run("stat", "--format=%a %U:%G", "/etc/galileod.toml")
    assert said == "640 root:galileod\n"


def be_measured(service: Service) -> None:
    said = service.run("curl", "--silent", f"http://{ADDRESS[0]}:{ADDRESS[1]}/metrics")
    scrape = Scrape(said)
    assert scrape("process_start_time_seconds")
    assert scrape("process_max_fds") == int(service.show("LimitNOFILE"))


def store(service: Service) -> None:
    dialed = service.container.dial(ADDRESS)
    client = JavaScriptClient(URL, bytes(3_000_000), sock=dialed)
    assert client.run().ending == "stored"
    status = service.stored(client.name).stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode)) == (3_000_000, 0o640)
    assert stat.S_IMODE(service.container.path("/var/lib/galileod").stat().st_mode) == 0o750


def tell_the_status(service: Service) -> None:
    with service.half_an_upload(unique_name()) as upload:
        poll("the status", lambda: service.show("StatusText") == "1 upload running")
        finish(upload)


def restart_during_an_upload(service: Service) -> None:
    name = unique_name()
    # A time-out that the drain does not fit: the daemon asks for more.
    with service.changed(service="[Service]\nTimeoutStopSec=1s\n"):
        before, drained = service.pid(), service.count("server.draining")
        with HealthChecks(service) as checks:
            with service.half_an_upload(name) as upload:
                restarting = service.container.start("systemctl", "restart", SERVICE)
                poll("the drain", lambda: service.count("server.draining") > drained)
                began = time.monotonic()
                # These wait for the next process.
                waiting = [service.container.dial(ADDRESS) for _ in range(20)]
                for connection in waiting:
                    connection.sendall(HEALTH)
                poll("more than the time-out", lambda: time.monotonic() > began + 3)
                finish(upload)
            assert restarting.communicate(timeout=60)[0] == ""
            assert restarting.returncode == 0
            for connection in waiting:
                with connection:
                    assert read_head(connection).status == 200
            answered = len(checks.statuses)
            poll("answers of the new process", lambda: len(checks.statuses) > answered + 5)
        assert not checks.errors
        assert set(checks.statuses) <= {200, 503}
        assert service.pid() != before
        assert service.stored(name).read_bytes() == bytes(2 * HALF)


def survive_a_kill(service: Service) -> None:
    service.run("systemctl", "reset-failed")
    before, count = service.pid(), restarts(service)
    name = unique_name()
    with suppress(ConnectionError), service.half_an_upload(name):
        service.run("systemctl", "kill", "--signal=SIGKILL", SERVICE)
        poll("an automatic restart", lambda: restarts(service) == count + 1)
    poll("the new process", lambda: service.show("ActiveState") == "active")
    assert service.pid() != before
    assert service.ask().status == 200
    assert not service.stored(name).exists()


def bite(service: Service) -> None:
    with service.changed(service="[Service]\nWatchdogSec=4s\n"):
        before, count = service.pid(), restarts(service)
        service.run("systemctl", "kill", "--signal=SIGSTOP", SERVICE)
        poll("an automatic restart", lambda: restarts(service) == count + 1)
        poll("the new process", lambda: service.show("ActiveState") == "active")
        assert service.pid() != before
        assert service.ask().status == 200
    assert "Watchdog timeout" in service.run("journalctl", f"UNIT={SERVICE}")


def reload(service: Service) -> None:
    settings = service.container.path("/etc/galileod.toml")
    right = settings.read_text()
    before = service.pid()
    missing = right.replace("[tls]", '[tls]\ncertificate = "/missing.pem"\nkey = "/missing.pem"')
    unknown = right.replace("[storage]", "[storage]\ncolour = 1")
    for text, event, said in (
        (right.replace('"10GiB"', '"1KiB"'), "config.reloaded", None),
        (missing, "config.rejected", "tls.certificate: /missing.pem"),
        (unknown, None, "storage.colour: unknown key"),
    ):
        count = service.count(event) if event else 0
        settings.write_text(text)
        service.run("systemctl", "reload", SERVICE, check=said is None)
        # systemctl has waited for the reload, and fails where the configuration is rejected.
        assert service.show("ReloadResult") == ("success" if said is None else "exit-code")
        assert service.show("ActiveState") == "active"
        assert said is None or f"galileod: /etc/galileod.toml: {said}" in service.run(
            "journalctl", "--output=cat", f"_SYSTEMD_UNIT={SERVICE}"
        )
        if event:
            poll(event, partial(service.has_more, event, count))
        # The first is in force after all of them.
        with open_websocket(URL, sock=service.container.dial(ADDRESS)) as upload:
            say(upload, name=unique_name(), size=1025)
            expect_fault(upload, "too_large")
    settings.write_text(right)
    service.run("systemctl", "reload", SERVICE)
    poll("the settings of before", lambda: service.count("config.reloaded") > 1)
    assert service.pid() == before


def stay_down_with_a_wrong_configuration(service: Service) -> None:
    settings = service.container.path("/etc/galileod.toml")
    right = settings.read_text()
    settings.write_text(right.replace("[storage]", "[storage]\ncolour = 1"))
    service.run("systemctl", "restart", SERVICE, check=False)
    assert service.show("ExecMainStatus") == "2"
    said = service.run("journalctl", "--output=cat", f"_SYSTEMD_UNIT={SERVICE}", "--lines=1")
    assert said.startswith("galileod: /etc/galileod.toml: storage.colour: unknown key")
    assert (service.show("ActiveState"), restarts(service)) == ("failed", 0)
    settings.write_text(right)
    service.restart()


def begin_anew_with_its_socket(service: Service) -> None:
    """Clients of a service that may not start take its socket down, as systemd has it."""
    settings = service.container.path("/etc/galileod.toml")
    right = settings.read_text()
    with service.changed(service="[Unit]\nStartLimitBurst=3\n"):
        settings.write_text("colour = 1")
        service.run("systemctl", "stop", SERVICE)
        with suppress(ConnectionError), service.container.dial(ADDRESS) as connection:
            poll("its end", lambda: not is_active(service, SOCKET))
            connection.sendall(HEALTH)
        settings.write_text(right)
        service.run("systemctl", "reset-failed", SERVICE, SOCKET)
        service.run("systemctl", "start", "galileod")
        assert is_active(service, SOCKET)
        assert service.ask().status == 200


def open_its_port_by_itself(service: Service) -> None:
    """Without the socket unit, and again with it."""
    service.run("systemctl", "disable", "--now", SOCKET)
    service.run("systemctl", "restart", SERVICE)
    assert not is_active(service, SOCKET)
    assert service.ask().status == 200
    service.run("systemctl", "stop", SERVICE)
    with pytest.raises(ConnectionRefusedError):
        service.container.dial(ADDRESS)
    assert service.show("StatusText") == "Stopped"
    service.run("systemctl", "enable", SOCKET)
    service.run("systemctl", "start", SERVICE)
    assert is_active(service, SOCKET)
    assert service.ask().status == 200


def listen_elsewhere(service: Service) -> None:
    """A port below 1024, an address that comes later, and a unix socket for a proxy."""
    drop_in = """
        [Socket]
        ListenStream=
        ListenStream=127.0.0.1:80
        ListenStream=192.0.2.1:80
        ListenStream=/run/galileod.sock
        SocketUser=www-data
        SocketMode=0600
        RemoveOnStop=yes
    """
    settings = service.container.path("/etc/galileod.toml")
    right = settings.read_text()
    changed = right.replace(
        '"127.0.0.1:8750"', '"127.0.0.1:80", "192.0.2.1:80", "unix:/run/galileod.sock"'
    )
    assert changed != right
    # For 192.0.2.1 it must be said who may upload.
    settings.write_text(changed.replace('# mode = "token"', 'mode = "none"'))
    with service.changed(socket=re.sub("(?m)^ +", "", drop_in)):
        expected = ["127.0.0.1:80", "192.0.2.1:80", "unix:/run/galileod.sock"]
        # The journal gets a line some time after it was written.
        poll("the start", lambda: service.log()[-1].get("listen") == expected)
        assert service.ask(("127.0.0.1", 80)).status == 200
        assert service.ask("/run/galileod.sock").status == 200
        path = service.container.path("/run/galileod.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        service.run("systemctl", "restart", SERVICE)
        assert service.ask("/run/galileod.sock").status == 200
        settings.write_text(right)
    assert not path.exists()


def name_a_socket_that_is_not_configured(service: Service) -> None:
    settings = service.container.path("/etc/galileod.toml")
    right = settings.read_text()
    settings.write_text(right.replace("127.0.0.1:8750", "127.0.0.1:8751"))
    before = service.count("server.failed")
    service.run("systemctl", "restart", SERVICE, check=False)
    poll("the failure", lambda: service.has_more("server.failed", before))
    line = [line for line in service.log() if line["event"] == "server.failed"][-1]
    assert "127.0.0.1:8750" in line["reason"]
    assert "127.0.0.1:8751" in line["reason"]
    settings.write_text(right)
    service.restart("socket")


def uninstall(service: Service) -> None:
    commands = ("/opt/galileod/bin/galileod", "uninstall-service")
    said = service.run(*commands)
    for path in INSTALLED:
        assert f"removed {path}\n" in said
        assert not service.container.path(path).exists()
    kept = ("/etc/galileod.toml", "/etc/systemd/system/galileod.service.d", "/var/lib/galileod")
    for path in kept:
        assert f"kept {path}\n" in said
        assert service.container.path(path).exists()
    assert service.show("ActiveState") == "inactive"
    with pytest.raises(ConnectionRefusedError):
        service.container.dial(ADDRESS)
    assert "removed" not in service.run(*commands)


STEPS: Final[tuple[Callable[[Service], None], ...]] = (
    check_units,
    keep_the_configuration_from_others,
    be_measured,
    store,
    tell_the_status,
    reload,
    restart_during_an_upload,
    survive_a_kill,
    bite,
    stay_down_with_a_wrong_configuration,
    begin_anew_with_its_socket,
    open_its_port_by_itself,
    listen_elsewhere,
    name_a_socket_that_is_not_configured,
    uninstall,
)


# The first run fetches a Debian.
@pytest.mark.timeout(debian.BUILD_SECONDS + 300)
def test_the_life_of_a_service(tmp_path: Path, subtests: pytest.Subtests) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to boot a container")
    if missing := debian.missing_packages():
        leave_out(f"needs a container: install Debian's packages {' '.join(missing)}")
    packages = tmp_path / "wheels"
    packages.mkdir()
    try:
        root = debian.debian()
        debian.wheels(packages)
    except debian.Unavailable as reason:
        leave_out(str(reason))
    with Container(root, tmp_path / "console", {"/wheels": packages}) as container:
        service = Service(container)
        install(service)
        for step in STEPS:
            with subtests.test(step.__name__):
                step(service)
