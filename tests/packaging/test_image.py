"""The container image: built, and run by runc with a read-only root, as an unknown user."""

import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import expect_ready, hear, open_websocket, say
from helpers.daemon import poll
from helpers.debian import BUILD_SECONDS, Unavailable, missing_packages
from helpers.image import (
    PROGRAMS,
    USER,
    ImageContainer,
    build_image,
    digest_of,
    unpack,
)
from helpers.missing import leave_out
from helpers.packages import PRIVATE, WHEN, arrived

pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)

LARGEST: Final = 150_000_000
"""Bytes of all files of the image, unpacked."""

URL: Final = "ws://127.0.0.1:8750/upload"
SIZE: Final = 6_000_000
SOME: Final = 1_000_000
SLOWLY: Final = 1_500_000
"""Bytes per second."""

SETTINGS: Final = """
[server]
listen = ["0.0.0.0:8750"]
drain_timeout = "100ms"
[storage]
directory = "/var/lib/galileod/files"
min_free = 0
[auth]
mode = "token"
tokens_file = "/var/lib/galileod/tokens"
"""

ORPHAN: Final = "(sh -c 'echo $$ >/var/lib/galileod/orphan' &); cat >/dev/null"
"""A hook that ends before a process that it has started."""

Run = Callable[..., ImageContainer]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        leave_out("only root can run these containers")
    if missing := missing_packages(PROGRAMS):
        leave_out(f"apt-get install {' '.join(missing)}")
    try:
        return build_image(tmp_path_factory.mktemp("source"))
    except Unavailable as error:
        leave_out(str(error))


@pytest.fixture(scope="module")
def bundle(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(archive, tmp_path_factory.mktemp("image"))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    made.mkdir(mode=0o700)
    os.chown(made, USER, USER)
    return made


@pytest.fixture
def run(bundle: Path, volume: Path, tmp_path: Path) -> Run:
    """Start a container of this name."""

    def start(
        name: str, *, settings: str | None = None, beside: int | None = None
    ) -> ImageContainer:
        mounted = None
        if settings is not None:
            mounted = tmp_path / f"{name}.toml"
            mounted.write_text(settings)
        return ImageContainer(bundle, tmp_path / name, volume, settings=mounted, beside=beside)

    return start


def add_token(container: ImageContainer) -> str:
    return container.run("galileod", "token", "add", "anna").stdout.strip()


def authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def events(container: ImageContainer) -> list[str]:
    return [line["event"] for line in container.log()]


def test_built_twice_the_digest_is_equal(
    archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("python") / "link"
    elsewhere.symlink_to(sys.prefix)
    python = str(elsewhere / "bin/python")
    again = build_image(tmp_path_factory.mktemp("again"), python, PRIVATE)
    assert digest_of(again) == digest_of(archive)


def test_what_the_image_says_of_itself(bundle: Path) -> None:
    layout = bundle.parent / "layout"

    def blob(digest: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(
            (layout / "blobs" / digest.replace(":", "/")).read_text()
        )
        return found

    (listed,) = json.loads((layout / "index.json").read_text())["manifests"]
    described = blob(blob(listed["digest"])["config"]["digest"])  # type: ignore[index]
    config = described["config"]
    assert isinstance(config, dict)
    assert config["User"] == "8750:8750"
    assert config["Entrypoint"] == ["galileod"]
    assert not config.get("Cmd")
    assert config["Volumes"] == {"/var/lib/galileod": {}}
    assert config["ExposedPorts"] == {"8750/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert described["created"] == WHEN.replace("+00:00", "Z")


def test_size_and_privileges_of_the_files(bundle: Path) -> None:
    found = {
        (status.st_dev, status.st_ino): status
        for folder, folders, files in os.walk(bundle / "rootfs")
        for name in [*folders, *files]
        for status in [os.lstat(os.path.join(folder, name))]
    }.values()
    assert sum(status.st_blocks * 512 for status in found) < LARGEST
    privileged = 0o6000
    assert not [x for x in found if stat.S_ISREG(x.st_mode) and x.st_mode & privileged]


def test_an_upload_with_the_configuration_of_the_image(
    run: Run, volume: Path, tmp_path: Path
) -> None:
    content = tmp_path / "a.bin"
    content.write_bytes(os.urandom(100_000))
    with run("first") as container:
        assert container.run("galileod-healthcheck").stdout == "ok\n"
        refused = container.send("--retries", "0", URL, content, token="")
        said, _ = refused.communicate()
        assert refused.returncode != 0, said
        sending = container.send(URL, content, token=add_token(container))
        said, _ = sending.communicate()
        assert sending.returncode == 0, said
        assert (volume / "files/a.bin").read_bytes() == content.read_bytes()
        wrong = container.run("touch", "/etc/x", check=False)
        assert "Read-only file system" in wrong.stderr
        container.terminate()
        assert container.wait() == 0
        # Each line is JSON, without anything else on standard error.
        assert {"server.started", "upload.stored", "server.stopped"} <= set(events(container))


def test_the_health_check_names_the_reason(run: Run) -> None:
    settings = SETTINGS.replace("min_free = 0", 'min_free = "1000TiB"')
    with run("full", settings=settings) as container:
        ended = container.run("galileod-healthcheck", check=False)
        assert ended.returncode == 1
        assert ended.stderr.startswith("503: Uploads are refused")
        ended = container.run("galileod-healthcheck", "http://127.0.0.1:1/healthz", check=False)
        assert ended.returncode == 1
        assert "Connection refused" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_sigterm_lets_an_upload_finish(run: Run, volume: Path) -> None:
    with run("draining") as container:
        headers = authorization(add_token(container))
        with open_websocket(URL, sock=container.dial(), additional_headers=headers) as websocket:
            say(websocket, name="b.bin", size=2000)
            expect_ready(websocket)
            websocket.send(bytes(1000))
            container.terminate()
            poll("server.draining", lambda: "server.draining" in events(container))
            websocket.send(bytes(1000))
            while hear(websocket).get("chunksize"):
                pass
            say(websocket, finished=True)
            assert hear(websocket) == {"close": True}
        assert container.wait() == 0
    assert (volume / "files/b.bin").read_bytes() == bytes(2000)


def test_the_next_container_resumes(run: Run, volume: Path, tmp_path: Path) -> None:
    content = tmp_path / "c.bin"
    content.write_bytes(os.urandom(SIZE))
    with run("before", settings=SETTINGS) as container:
        token = add_token(container)
        sending = container.send("--limit-rate", str(SLOWLY), URL, content, token=token)
        poll("some of the upload", lambda: arrived(volume / "files") > SOME)
        # It cannot end before the container.
        sending.send_signal(signal.SIGSTOP)
        try:
            container.terminate()
            assert container.wait() == 0
            with run("after", settings=SETTINGS, beside=sending.pid) as following:
                sending.send_signal(signal.SIGCONT)
                said, _ = sending.communicate(timeout=60)
                assert sending.returncode == 0, said
                (resumed,) = [x for x in following.log() if x["event"] == "upload.resumed"]
                assert resumed["offset"] > SOME
        finally:
            sending.kill()
            sending.wait()
    assert (volume / "files/c.bin").read_bytes() == content.read_bytes()


def test_what_hooks_leave_behind_is_reaped(run: Run, volume: Path, tmp_path: Path) -> None:
    content = tmp_path / "d.bin"
    content.write_bytes(b"d")
    settings = SETTINGS + f"[hooks]\nstored = {json.dumps(['/bin/sh', '-c', ORPHAN])}\n"
    with run("hooks", settings=settings) as container:
        sending = container.send(URL, content, token=add_token(container))
        said, _ = sending.communicate()
        assert sending.returncode == 0, said
        poll(
            "hook.delivered",
            lambda: "hook.delivered" in events(container),
            lambda: str(container.log()),
        )
        written = volume / "orphan"
        poll("the orphan", lambda: written.exists() and written.read_text().endswith("\n"))
        orphan = written.read_text().strip()
        poll(
            "the orphan's end",
            lambda: container.run("test", "-e", f"/proc/{orphan}", check=False).returncode == 1,
        )
