"""Servers with a fault in resuming.

The docstring of a class says what it does wrong.
"""

from pathlib import Path
from typing import Any, Final, NoReturn

from conformance.broken.registry import registrar
from conformance.broken.server_peer import RefusalError, Session, Signal
from conformance.broken.storage import Store, Upload

FAULTS: Final[dict[str, type[Session]]] = {}

BLOCK = 4096


fault = registrar(FAULTS)


# Resuming


@fault("keys-for-old-clients")
class KeysForOldClients(Session):
    """Sends `offset` with the first `ready` to each client, also to one that states nothing."""

    def begin(self, signal: Signal, name: str, size: int, key: str | None) -> None:
        if key is None:
            self.greeting |= {"offset": 0}
        super().begin(signal, name, size, key)


@fault("can-as-string")
class CanAsString(Session):
    """Looks for the word in `can` without a look at its type, so `"can": "resume"` agrees."""

    def extensions(self, signal: Signal) -> list[Any] | None:
        can = signal.get("can")
        return (
            ["resume"] if isinstance(can, str) and "resume" in can else super().extensions(signal)
        )


@fault("empty-can-left-out")
class EmptyCanLeftOut(Session):
    """Leaves `can` out of the first signal if no extension is agreed."""

    def send(self, signal: Signal) -> None:
        if self.greeting.get("can") == []:
            del self.greeting["can"]
        super().send(signal)


@fault("can-only-with-ready")
class CanOnlyWithReady(Session):
    """States the agreed extensions with `ready` only, not if the first signal is `close`."""

    def send_close(self, announced: str, stored: str) -> None:
        self.greeting = {}
        super().send_close(announced, stored)


@fault("resume-without-key")
class ResumeWithoutKey(Session):
    """States `resume` also to a client that has sent no key."""

    def agree(self, can: list[Any] | None, key: str | None) -> list[str]:
        del key
        return ["resume"] if can is not None and "resume" in can else []


@fault("key-echoed")
class KeyEchoed(Session):
    """Repeats the key of the upload in the first `ready`."""

    def resumption(self, upload: Upload) -> Signal:
        return {**super().resumption(upload), "upload": upload.key}


@fault("key-case")
class KeyCase(Session):
    """Takes a key in capital letters for another key."""

    def normal_key(self, key: str) -> str:
        return key


@fault("modified-not-compared")
class ModifiedNotCompared(Session):
    """Continues an upload whose `modified` differs from that of the kept one."""

    def identity(self, signal: Signal) -> str:
        return super().identity({**signal, "modified": None})


@fault("other-file-discards")
class OtherFileDiscards(Session):
    """Refuses metadata of another file with a used key, and discards the kept upload."""

    def other_file(self, known: Upload) -> NoReturn:
        self.store.discard(known)
        super().other_file(known)


@fault("check-of-more")
class CheckOfMore(Session):
    """Rounds `offset` down to 4,096 bytes, but `check` is the hash of all that has arrived."""

    def resumption(self, upload: Upload) -> Signal:
        stated = super().resumption(upload)
        if upload.received < upload.size:
            upload.received -= upload.received % BLOCK
        return {**stated, "offset": upload.received}


@fault("tail-kept")
class TailKept(Session):
    """Rounds `offset` down to 4,096 bytes, but appends to all that has arrived."""

    surplus = 0

    def resumption(self, upload: Upload) -> Signal:
        if upload.received < upload.size:
            self.surplus = upload.received % BLOCK
        upload.received -= self.surplus
        return {"offset": upload.received, "keep": 3600}

    def keep_chunk(self, upload: Upload, data: bytes) -> None:
        self.store.write_at(upload, upload.received + self.surplus, data)
        upload.received += len(data)


@fault("offset-counts-credits")
class OffsetCountsCredits(Session):
    """Counts the first credit of the interrupted connection as received when it resumes."""

    def resumption(self, upload: Upload) -> Signal:
        if 0 < upload.received < upload.size:
            upload.received += min(self.chunk, upload.size - upload.received)
        return {"offset": upload.received, "keep": 3600}


class StoreLate(Store):
    """Writes the record of an upload only once its connection has ended."""

    def __init__(self, directory: Path, state: Path) -> None:
        super().__init__(directory, state)
        self.unrecorded: dict[str, Upload] = {}

    def save(self, upload: Upload) -> None:
        if upload.stored is not None:
            super().save(upload)
        elif upload.key is not None:
            self.unrecorded[upload.key] = upload

    def find(self, key: str) -> Upload | None:
        upload = self.unrecorded.get(key)
        return super().find(key) or (upload if upload and self.part(upload).exists() else None)

    def keep(self, upload: Upload) -> None:
        if self.part(upload).exists():
            super().save(upload)


@fault("kept-at-disconnect")
class KeptAtDisconnect(Session):
    """Records an upload when its connection ends, so one that runs is lost with the process."""

    store_class = StoreLate

    def release(self) -> None:
        upload = self.upload
        if upload is not None and upload.key is not None and isinstance(self.store, StoreLate):
            self.store.keep(upload)
        super().release()


class StoreForgetful(Store):
    """Keeps its records in memory."""

    def __init__(self, directory: Path, state: Path) -> None:
        super().__init__(directory, state)
        for file in state.iterdir():
            file.unlink()


@fault("kept-in-memory")
class KeptInMemory(Session):
    """Knows kept uploads only until it is restarted."""

    store_class = StoreForgetful


@fault("stored-forgotten")
class StoredForgotten(Session):
    """Forgets the key when the file is stored, so a client that asks again sends it twice."""

    def finish(self, upload: Upload) -> None:
        try:
            super().finish(upload)
        finally:
            self.store.record(upload).unlink(missing_ok=True)


@fault("complete-stored-unasked")
class CompleteStoredUnasked(Session):
    """Stores an upload that is resumed with all of its bytes at once, without `finished`."""

    def grant(self) -> None:
        upload = self.current()
        if upload.size and "offset" in self.greeting and not self.missing(upload):
            self.greeting = {"can": self.agreed}
            self.finish(upload)
        else:
            super().grant()


@fault("hash-of-last-connection")
class HashOfLastConnection(Session):
    """Compares the hash with the bytes of the last connection only."""

    start = 0

    def resumption(self, upload: Upload) -> Signal:
        self.start = upload.received
        return super().resumption(upload)

    def content_hash(self, upload: Upload, kind: str) -> str:
        return self.store.digest(upload, kind, self.start)


@fault("resumed-unverified")
class ResumedUnverified(Session):
    """Does not compare the hash of an upload that was resumed."""

    resumed = False

    def resumption(self, upload: Upload) -> Signal:
        self.resumed = upload.received > 0
        return super().resumption(upload)

    def verify(self, upload: Upload, stated: object) -> None:
        if not self.resumed:
            super().verify(upload, stated)


@fault("kept-after-wrong-hash")
class KeptAfterWrongHash(Session):
    """Keeps the data of an upload whose hash was wrong, and offers them again."""

    def fail(self, refused: RefusalError) -> None:
        if refused.code == "hash_mismatch" and self.upload is not None and self.upload.key:
            self.release()
            self.upload = None
        super().fail(refused)


@fault("older-connection-wins")
class OlderConnectionWins(Session):
    """Answers the second connection of a running upload with `busy`."""

    def take_over(self, key: str) -> None:
        if key in self.store.running:
            raise RefusalError("busy", "The upload runs on another connection.")


def ignore(message: str | bytes) -> None:
    del message


@fault("older-connection-untold")
class OlderConnectionUntold(Session):
    """Continues on the newer connection, and leaves the older one open without an error."""

    def take_over(self, key: str) -> None:
        older = self.store.running.get(key)
        if older is not None:
            older.release()
            older.upload = None
            older.handle = ignore


@fault("abandon-without-agreement")
class AbandonWithoutAgreement(Session):
    """Acts on `abandon` also where no extension is agreed."""

    def may_abandon(self) -> bool:
        return self.upload is not None


@fault("abandon-begins")
class AbandonBegins(Session):
    """Begins an upload for metadata with `abandon` if it does not know the key."""

    def abandon_kept(self, known: Upload | None) -> None:
        if known is not None:
            super().abandon_kept(known)


@fault("abandoned-kept")
class AbandonedKept(Session):
    """Answers `abandon` with `abandoned`, but keeps what it has."""

    def fail(self, refused: RefusalError) -> None:
        if refused.code == "abandoned" and self.upload is not None:
            self.release()
            self.upload = None
        super().fail(refused)
