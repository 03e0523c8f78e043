"""Questions which files are stored, as a client sends them."""

import trio
from attrs import evolve, field, frozen
from helpers.furthering import Signal, limited, stored, whole
from helpers.wire import RawPeer, Wire, text_frame

from galileod.auth.authenticator import Authenticator
from galileod.auth.grant import Grant, Unauthorized
from galileod.config.model import Config
from galileod.storage.settings import Ask, Storage

ANNA = {"token": "anna"}
"""The credential of a user."""

BERTA = {"token": "berta"}
"""That of another one."""

CAN = ("next", "ask")
MODIFIED = 1_768_300_000_000


@frozen
class Door(Authenticator):
    """Lets everyone in under the name that is the credential, unless that is not valid any more."""

    expired: set[str] = field(factory=set)
    revoked: set[str] = field(factory=set)

    @property
    def is_open(self) -> bool:
        return False

    async def check(self, credential: str, client: str, *, allow_expired: bool = False) -> Grant:
        del client, allow_expired
        await trio.lowlevel.checkpoint()
        if credential in self.revoked:
            raise Unauthorized("it was revoked")
        return Grant(credential, expired=credential in self.expired)


def answering(setting: Ask = "everybody", config: Config | None = None) -> Config:
    """A configuration with this `storage.ask`, and small limits for further files."""
    config = config or limited()
    return evolve(config, storage=evolve(config.storage, ask=setting))


def laid_out(layout: str, directory: str = "uploads") -> Config:
    """A configuration with this layout, in which everybody may ask."""
    return evolve(answering(), storage=Storage(directory=directory, layout=layout, ask="everybody"))


async def first(
    wire: Wire, size: int = 0, *, name: str = "0", token: str | None = None
) -> tuple[RawPeer, Signal]:
    """A connection whose file 0 has begun, and the first signal about it."""
    raw = await wire.open_raw()
    about = {"can": list(CAN), "modified": MODIFIED, "token": token}
    await raw.send(text_frame({"name": name, "size": size, **about}))
    return raw, await raw.receive()


async def opened(wire: Wire, *, name: str = "0", token: str | None = None) -> RawPeer:
    """A connection whose file 0, an empty one, is stored."""
    raw, signal = await first(wire, name=name, token=token)
    assert "ask" in signal["can"]
    await raw.send(text_frame({"finished": True}))
    assert (await raw.receive())["close"]
    return raw


async def put(raw: RawPeer, number: int, name: str, data: bytes, **more: object) -> str:
    """Store a small file, which is number `number`; returns where it is."""
    await raw.send(whole(name, data, **{"modified": MODIFIED, **more}))
    signal = await raw.receive()
    path = str(signal["path"])
    assert signal == stored(
        path, file=number, **({"name": signal["name"]} if "name" in signal else {})
    )
    return path


def question(*entries: Signal, n: int = 1) -> bytes:
    """The question, as a frame."""
    return text_frame({"ask": list(entries), "n": n})


def entry(name: str, size: int, **more: object) -> Signal:
    """A file that is asked for, with the usual modification time."""
    return {"name": name, "size": size, "modified": MODIFIED, **more}


async def held(raw: RawPeer, *entries: Signal, n: int = 1) -> list[int]:
    """Ask; returns the indexes in the answer."""
    await raw.send(question(*entries, n=n))
    signal = await raw.receive()
    indexes: list[int] = signal.pop("held")
    assert signal == {"n": n}
    return indexes
