"""The Debian packages: built, and installed, upgraded and removed in a booted Debian.

One test in steps for each release, since it is one story.
"""

import hashlib
import os
import shutil
import signal
from pathlib import Path
from typing import Final

import pytest
from helpers import debian
from helpers.container import Container
from helpers.daemon import poll
from helpers.deb import (
    LATER,
    NEEDED,
    build_packages,
    complaints,
    later_package,
    name_of,
    version_of,
)
from helpers.missing import leave_out
from helpers.packages import PRIVATE, arrived
from helpers.rounds import SOAK
from helpers.service import ADDRESS, SERVICE, SOCKET, URL, HealthChecks, Service, is_active

RELEASES: Final = ("bookworm", "trixie")
BUILT_TWICE: Final = RELEASES if SOAK else ("trixie",)
"""A build takes a minute of CPU time."""

STORED: Final = 8_000_000
"""Bytes of the upload during the upgrade."""

SLOWLY: Final = 1_500_000
"""Bytes per second at which it is sent."""

SOME: Final = 1_000_000
"""How many bytes arrive before the upgrade, at least."""

SETTINGS: Final = "/etc/galileod.toml"
DATA: Final = "/var/lib/galileod"
IN_A_BUCKET: Final = """
[storage]
backend = "s3"
directory = "/var/lib/galileod"

[storage.s3]
bucket = "uploads"
endpoint = "http://127.0.0.1:9"
credentials_file = "/etc/galileod.s3"
"""
"""Nobody listens there."""

KEYS: Final = "[default]\naws_access_key_id = A\naws_secret_access_key = B\n"
REFUSED: Final = "the connection to the object storage has failed: Connection refused"
OURS: Final = "# Written by `galileod install-service`\n"


def apt(service: Service, *arguments: str, check: bool = True) -> str:
    return service.run(
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", *arguments, check=check
    )


def install(service: Service, *packages: Path, check: bool = True) -> str:
    # As unattended-upgrades does with a configuration that was edited.
    kept = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    paths = [f"/packages/{package.name}" for package in packages]
    return apt(service, "install", *kept, *paths, check=check)


def digest(package: Path) -> str:
    return hashlib.sha256(package.read_bytes()).hexdigest()


def mode(service: Service, path: str) -> str:
    return service.run("stat", "--format=%a %U:%G", path).strip()


def begin(service: Service, package: Path) -> None:
    """What the administrator has after the installation."""
    install(service, package)
    assert service.ask().status == 200
    for unit in (SERVICE, SOCKET):
        assert is_active(service, unit)
        assert service.run("systemctl", "is-enabled", unit) == "enabled\n"
    assert service.show("FragmentPath").removeprefix("/usr") == f"/lib/systemd/system/{SERVICE}"
    assert service.run("systemd-analyze", "verify", SERVICE, SOCKET) == ""
    assert mode(service, SETTINGS) == "640 root:galileod"
    assert {line["level"] for line in service.log()} == {"info"}
    version = service.run("galileod", "--version").split()[1]
    assert version_of(package).startswith(f"{version}~deb")
    for command, section in (("galileod", 8), ("galileo-send", 1), ("galileo-conformance", 1)):
        service.run(command, "--help")
        service.run("zcat", f"/usr/share/man/man{section}/{command}.{section}.gz")
        completion = f"/usr/share/bash-completion/completions/{command}"
        asked = f". {completion}; complete -p {command}"
        assert command in service.run("bash", "-c", asked)
    said = service.run("galileod", "install-service", check=False)
    assert "a package has installed the service already" in said
    # All that was unpacked is as it was built, also after it has run.
    assert service.run("dpkg", "--verify", "galileod") == ""


def store(service: Service) -> None:
    service.container.path("/root/a.bin").write_bytes(bytes(3_000_000))
    assert "stored" in service.run("galileo-send", URL, "/root/a.bin")
    assert service.stored("a.bin").read_bytes() == bytes(3_000_000)
    service.run("galileod", "token", "add", "anna")


def store_into_a_bucket(service: Service, extra: Path) -> None:
    """It needs the other package; the service then waits until there is object storage."""
    service.container.path("/root/keys").write_text(KEYS)
    service.run("install", "-m", "0640", "-g", "galileod", "/root/keys", "/etc/galileod.s3")
    settings = service.container.path(SETTINGS)
    local = settings.read_text()
    settings.write_text(IN_A_BUCKET)
    check = ("galileod", "check-config", "--connect")
    named = '"s3": needs the Debian package galileod-s3, in the version of galileod'
    said = service.run(*check, check=False)
    assert said == f"galileod: {SETTINGS}: storage.backend: {named}\n"
    install(service, extra)
    assert service.run("dpkg", "--verify", name_of(extra)) == ""
    assert f"{REFUSED} (HeadBucket, " in service.run(*check, check=False)
    service.run("systemctl", "restart", "--no-block", SERVICE)
    waits = f"Starting: opening the bucket, waiting: {REFUSED}"
    poll("the status", lambda: service.show("StatusText").startswith(waits))
    assert service.show("ActiveState") == "activating"
    settings.write_text(local)
    service.container.path("/etc/galileod.s3").unlink()
    service.run("systemctl", "restart", SERVICE)
    assert service.ask().status == 200


def use_a_database(service: Service, extra: Path) -> None:
    """It needs the other package too."""
    settings = service.container.path(SETTINGS)
    local = settings.read_text()
    settings.write_text('[ledger]\nurl = "postgresql://galileod@127.0.0.1:9/galileod"\n')
    check = ("galileod", "check-config", "--connect")
    named = "needs the Debian package galileod-postgresql, in the version of galileod"
    said = service.run(*check, check=False)
    assert said == f"galileod: {SETTINGS}: ledger.url: {named}\n"
    install(service, extra)
    assert service.run("dpkg", "--verify", name_of(extra)) == ""
    said = service.run(*check, check=False)
    assert "Connection refused" in said, said
    settings.write_text(local)


def upgrade_during_an_upload(service: Service, later: list[Path]) -> None:
    settings = service.container.path(SETTINGS)
    text = settings.read_text()
    edited = text.replace('"30s"', '"100ms"', 1)
    assert edited != text
    settings.write_text(edited)
    service.run("systemctl", "reload", SERVICE)
    content = os.urandom(STORED)
    service.container.path("/root/b.bin").write_bytes(content)
    before = service.pid()
    command = f"echo $$ >/root/pid; exec galileo-send --limit-rate {SLOWLY} {URL} /root/b.bin"
    sending = service.container.start("sh", "-c", command)
    poll("the upload", lambda: arrived(service.container.path(DATA)) > SOME)
    # It cannot end before the upgrade, however long that takes.
    service.run("sh", "-c", "kill -STOP $(cat /root/pid)")
    with HealthChecks(service) as checks:
        install(service, *later)
        sending.send_signal(signal.SIGCONT)  # nsenter has stopped with it, and continues it
        answered = len(checks.statuses)
        poll("answers of the new version", lambda: len(checks.statuses) > answered + 5)
    assert not checks.errors
    assert set(checks.statuses) <= {200, 503}
    said, _ = sending.communicate(timeout=120)
    assert sending.returncode == 0, said
    assert service.stored("b.bin").read_bytes() == content
    # The upload was interrupted, and what had arrived was not sent again.
    poll("the line", lambda: service.count("upload.resumed") == 1)
    (offset,) = [line["offset"] for line in service.log() if line["event"] == "upload.resumed"]
    assert offset > SOME
    assert service.pid() != before
    for name in map(name_of, later):
        assert service.run("dpkg-query", "--show", name) == f"{name}\t{LATER}\n"
    assert settings.read_text() == edited
    assert mode(service, SETTINGS) == "640 root:galileod"
    assert f"# Added in {LATER}." in service.run("cat", f"{SETTINGS}.dpkg-dist")


def remove(service: Service) -> None:
    apt(service, "remove", "galileod")
    for unit in (SERVICE, SOCKET):
        assert not is_active(service, unit)
    with pytest.raises(ConnectionRefusedError):
        service.container.dial(ADDRESS)
    for path in ("/usr/lib/galileod", "/usr/bin/galileod", f"/usr/lib/systemd/system/{SERVICE}"):
        assert not service.container.path(path).exists()
    for path in (SETTINGS, "/etc/galileod.tokens", f"{DATA}/.galileod/ledger.sqlite3"):
        assert service.container.path(path).exists()


def stay_masked(service: Service, package: Path) -> None:
    """What an administrator has masked is neither started nor unmasked."""
    service.run("systemctl", "mask", SERVICE, SOCKET)
    install(service, package)
    for unit in (SERVICE, SOCKET):
        assert service.run("systemctl", "is-enabled", unit, check=False) == "masked\n"
        assert not is_active(service, unit)
    service.run("systemctl", "unmask", SERVICE, SOCKET)
    for unit in (SERVICE, SOCKET):
        assert service.run("systemctl", "is-enabled", unit) == "enabled\n"
    apt(service, "remove", "galileod")


def come_back(service: Service, later: Path) -> None:
    """It finds its configuration again, and says what to do where that is wrong."""
    settings = service.container.path(SETTINGS)
    edited = settings.read_text()
    assert '"100ms"' in edited
    settings.write_text("colour = 1")
    said = install(service, later)
    assert f"has not started: systemctl status {SOCKET} {SERVICE}" in said
    assert "colour: unknown key" in service.run("systemctl", "status", SERVICE, check=False)
    settings.write_text(edited)
    service.run("systemctl", "start", SERVICE)
    assert service.ask().status == 200


def purge(service: Service) -> None:
    said = apt(service, "purge", "galileod")
    assert f"galileod: kept the files in {DATA}" in said
    etc = service.container.path("/etc")
    left = [path for path in etc.rglob("galileod*") if path.name != "galileod.toml.dpkg-dist"]
    assert left == []
    assert not service.container.path(f"{DATA}/.galileod").exists()
    assert service.stored("a.bin").stat().st_size == 3_000_000
    assert service.stored("b.bin").stat().st_size == STORED
    assert mode(service, f"{DATA}/b.bin").split()[1] == "galileod:galileod"


def respect_another_service(service: Service, package: Path) -> None:
    """One that `install-service` wrote, for the galileod of pip, is not touched."""
    unit = service.container.path(f"/etc/systemd/system/{SERVICE}")
    other = (
        f'{OURS}[Service]\nExecStart="/bin/sleep" infinity\n[Install]\nWantedBy=multi-user.target\n'
    )
    unit.write_text(other)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", SERVICE)
    before = service.pid()
    said = install(service, package, check=False)
    assert (
        "keeps the\ngalileod: configuration and all files: /bin/sleep uninstall-service\n" in said
    )
    assert (service.pid(), is_active(service, SOCKET)) == (before, False)
    assert not service.container.path("/usr/bin/galileod").exists()
    service.run("systemctl", "stop", SERVICE)
    unit.unlink()
    service.run("systemctl", "daemon-reload")
    install(service, package)
    assert service.ask().status == 200
    service.run("galileod", "token", "add", "anna")
    # Nor is what it uses after it has taken the package's place.
    apt(service, "remove", "galileod")
    unit.write_text(other)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "enable", "--now", SERVICE)
    apt(service, "purge", "galileod")
    for kept in ("/etc/galileod.tokens", f"{DATA}/.galileod/ledger.sqlite3", f"{DATA}/b.bin"):
        assert service.container.path(kept).exists(), kept
    assert service.run("systemctl", "is-enabled", SERVICE) == "enabled\n"


@pytest.mark.timeout(3 * debian.BUILD_SECONDS)
@pytest.mark.parametrize("release", RELEASES)
def test_the_life_of_a_package(release: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    if os.geteuid() != 0:
        leave_out("needs root, to boot a container")
    if missing := debian.missing_packages(NEEDED):
        leave_out(f"needs Debian's packages {' '.join(missing)}")
    packages = tmp_path / "packages"
    packages.mkdir()
    try:
        root = debian.debian(release)
        built = build_packages(release, tmp_path / "source")
        again = (
            build_packages(release, tmp_path / "again", PRIVATE) if release in BUILT_TWICE else None
        )
    except debian.Unavailable as reason:
        leave_out(str(reason))
    with subtests.test("built twice"):
        assert again is None or list(map(digest, again)) == list(map(digest, built))
    for each in built:
        shutil.copyfile(each, packages / each.name)
        with subtests.test("lintian", package=name_of(each)):
            assert complaints(each) == ""
    names = ["galileod", "galileod-postgresql", "galileod-s3"]
    assert [name_of(each) for each in built] == names
    package, for_databases, for_buckets = built
    later = [later_package(each, packages) for each in built]
    with Container(root, tmp_path / "console", {"/packages": packages}) as container:
        service = Service(container)
        begin(service, package)
        store(service)
        store_into_a_bucket(service, for_buckets)
        use_a_database(service, for_databases)
        upgrade_during_an_upload(service, later)
        remove(service)
        stay_masked(service, later[0])
        come_back(service, later[0])
        purge(service)
        respect_another_service(service, package)
