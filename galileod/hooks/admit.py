"""Asks a hook whether an upload may begin: the question, and what may be answered."""

import json
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from galileod import __version__
from galileod.ledger.records import About
from galileod.protocol.messages import MAX_SIZE

from .command import run_command
from .post import post
from .receipt import load_meta
from .settings import HookError, Hooks

MAX_ANSWER: Final = 64 * 1024
"""Maximum bytes of an answer: twice a signal of a client, with a name and a folder."""

MAX_REASON: Final = 500
"""Maximum characters of the reason for a refusal."""

NO_REASON: Final = "The server does not accept this file."
"""What the client is told if the hook gives no reason."""


@frozen
class Answer:
    """What the hook has decided; None is what it leaves as it is.

    `refused` is the sentence for the client if the upload may not begin. `name` and `folder` are
    used instead of the client's, and are no safer. `max_size` (bytes) limits the size further.
    """

    refused: str | None = None
    name: str | None = None
    folder: str | None = None
    max_size: int | None = None


def make_question(upload: str, size: int, user: str, peer: str, about: About) -> bytes:
    """The question whether `upload`, of `size` bytes, may begin, as JSON."""
    question = {
        "event": "admit",
        "upload": upload,
        "name": about.sent,
        "folder": about.folder,
        "size": size,
        "modified": about.modified,
        "user": user,
        "peer": peer,
        "ticket": about.ticket,
        "meta": load_meta(about.meta),
        "version": __version__,
    }
    return json.dumps(question).encode()


async def ask(hooks: Hooks, question: bytes, upload: str, directory: str) -> Answer:
    """Ask the hook, which is a command that runs in `directory`, or a URL. Raises HookError."""
    seconds = hooks.admit_timeout
    if isinstance(hooks.admit, str):
        data = await post(hooks.admit, question, upload, hooks.secret_file, seconds, MAX_ANSWER)
    else:
        data = await run_command(hooks.admit, question, directory, seconds, MAX_ANSWER)
    return parse_answer(data)


def parse_answer(data: bytes) -> Answer:
    """Parse an answer; one without content admits the upload.

    Raises HookError. A refusal is never taken for an error, whatever its reason is.
    """
    if not data.strip():
        return Answer()
    try:
        answer = json.loads(data, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise HookError("the answer is not JSON") from None
    admit = answer.get("admit") if isinstance(answer, dict) else None
    if not isinstance(admit, bool):
        raise HookError('the answer is not an object with "admit": true or false')
    if not admit:
        return Answer(refused=_printable(answer.get("reason")) or NO_REASON)
    name, folder, size = (answer.get(key) for key in ("name", "folder", "max_size"))
    if not isinstance(name, str | None):
        raise HookError('the answer has a "name" that is not a string')
    if not isinstance(folder, str | None):
        raise HookError('the answer has a "folder" that is not a string')
    if size is not None and not (type(size) is int and 0 <= size <= MAX_SIZE):
        raise HookError('the answer has a "max_size" that is not a size in bytes')
    return Answer(None, name, folder, size)


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object. If it says "admit" several times, a refusal counts."""
    members = dict(pairs)
    if any(key == "admit" and value is False for key, value in pairs):
        members["admit"] = False
    return members


def _printable(reason: object) -> str:
    """The reason in one line of limited length; empty if there is none."""
    if not isinstance(reason, str):
        return ""
    cut = reason[: MAX_REASON + 1]
    line = "".join(each if each.isprintable() else " " for each in cut).strip()
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 1]}…"
