"""Asks the hook `hooks.admit` whether an upload may begin, before anything is reserved for it."""

import math
from collections.abc import Awaitable, Callable

import trio
from attrs import evolve

from galileod.hooks.admit import Answer, ask, make_question
from galileod.hooks.settings import HookError, Hooks
from galileod.metrics import Metrics
from galileod.net.peer import Peer
from galileod.policy.limits import check_size
from galileod.protocol.errors import Fault, FaultCode

from .turns import Turns
from .upload import Upload, path_for

Ask = Callable[[Hooks, bytes, str, str], Awaitable[Answer]]
"""Asks the question, with the id of the upload and a command's directory. Raises HookError."""


class Asking:
    """Asks about uploads, at most `hooks.admit_parallel` at once; users take turns.

    A command runs in `directory`.
    """

    def __init__(self, metrics: Metrics, directory: str, ask: Ask = ask) -> None:
        self._metrics = metrics
        self._directory = directory
        self._ask = ask
        self._turns = Turns()

    async def admit(self, upload: Upload, peer: Peer) -> Upload:
        """The upload, with the path that the hook wants. `hooks.admit` must be set.

        Raises a Fault: `not_admitted` if the hook refuses it, `too_large` by its limit, and `busy`
        if it does not decide and `hooks.admit_failure` is "refuse". That takes at most twice
        `hooks.admit_timeout`, and the time to end a command.
        """
        began, log = trio.current_time(), upload.log
        try:
            answer = await self._wait_and_ask(upload, peer)
            path = _path(upload, answer)
        except HookError as error:
            return self._undecided(upload, str(error), began)
        except Exception:  # a defect must not decide about the upload
            log.exception("hook.error")
            return self._undecided(upload, "internal error", began)
        refusal = _refusal(upload, answer)
        seconds = trio.current_time() - began
        self._metrics.asked("admitted" if refusal is None else "refused", seconds)
        if refusal is not None:
            raise refusal
        log.debug("hook.admitted", path=path, seconds=round(seconds, 6))
        return _moved(upload, path)

    async def _wait_and_ask(self, upload: Upload, peer: Peer) -> Answer:
        hooks, grant = upload.config.hooks, upload.grant
        size = upload.metadata.size
        question = make_question(upload.id, size, grant.user, peer.name, upload.about)
        user = peer.network if grant.anonymous else grant.user
        with trio.move_on_after(hooks.admit_timeout) as waiting:
            async with self._turns.take(user, hooks.admit_parallel):
                waiting.deadline = math.inf
                return await self._ask(hooks, question, upload.id, self._directory)
        raise HookError(f"other questions took more than {hooks.admit_timeout:g} seconds")

    def _undecided(self, upload: Upload, reason: str, began: float) -> Upload:
        """What happens without an answer."""
        accepted = upload.config.hooks.admit_failure == "accept"
        self._metrics.asked("failed", trio.current_time() - began)
        upload.log.warning("hook.unanswered", reason=reason, accepted=accepted)
        if accepted:
            return upload
        raise Fault(
            FaultCode.BUSY,
            "The server cannot decide now whether it accepts the file. Try again later.",
        )


def _path(upload: Upload, answer: Answer) -> str:
    """The path for the name and folder in the answer. Raises HookError if they cannot be used."""
    metadata = upload.metadata
    name = metadata.name if answer.name is None else answer.name
    folder = metadata.folder if answer.folder is None else answer.folder
    if (name, folder) == (metadata.name, metadata.folder):
        return upload.path
    try:
        # The name in a ticket is compared with that of the client.
        grant = evolve(upload.grant, name=None)
        return path_for(evolve(metadata, name=name, folder=folder), grant, upload.config)
    except Fault as fault:
        raise HookError(f"the answer cannot be used: {fault.reason}") from None


def _refusal(upload: Upload, answer: Answer) -> Fault | None:
    if answer.refused is not None:
        return Fault(FaultCode.NOT_ADMITTED, answer.refused)
    if answer.max_size is not None:
        try:
            check_size(upload.metadata.size, answer.max_size)
        except Fault as fault:
            return fault
    return None


def _moved(upload: Upload, path: str) -> Upload:
    resumable = upload.resumable
    if resumable is not None:
        resumable = evolve(resumable, name=path.rpartition("/")[2], path=path)
    return evolve(upload, path=path, resumable=resumable)
