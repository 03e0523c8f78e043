"""Asks the disk before a quota refuses an upload: what was moved away must refuse nobody."""

from collections import OrderedDict
from typing import Final

import trio
from attrs import define, field

from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.records import Selection
from galileod.storage.errors import StorageError

from .check import PAGE, Checker

MOST_SECONDS: Final = 2.0
"""Maximum seconds of a check, for which an upload waits. The next one goes on where it ended."""

PAUSE: Final = 10
"""A check of the same files is followed by a pause of this many times its duration. So a client
that is refused again and again keeps no disk busy."""

MOST_WAIT: Final = 1.0
"""Maximum seconds that an upload waits for the end of the pause; if that is further away, it is
refused. A pause is as long only for some ten thousand files."""

MOST_CHECKS: Final = 2
"""Maximum checks at the same time."""

MOST_REMEMBERED: Final = 10_000
"""Maximum users of whom is remembered when their files were last checked."""


@define(eq=False)
class _Asked:
    """The checks of one user's files: the next one from `again` on, at `cursor`.

    The last one `began` at that time. The last that has found something ended at `found`.
    """

    lock: trio.Lock = field(factory=trio.Lock)
    began: float = float("-inf")
    again: float = float("-inf")
    cursor: str = ""
    found: float = float("-inf")


class QuotaCheck:
    """Checks the files of one user, or of all, and drops the records of those that are gone."""

    def __init__(self, ledger: Ledger, checker: Checker) -> None:
        self._ledger = ledger
        self._checker = checker
        self._users: OrderedDict[str | None, _Asked] = OrderedDict()
        self._limiter = trio.CapacityLimiter(MOST_CHECKS)

    async def ask(self, user: str | None) -> bool:
        """Whether a check finds that less is stored, by the user or, for None, by all.

        Those who ask at the same time share one check.
        """
        asked, came = self._find(user), trio.current_time()
        async with asked.lock:
            pause = asked.again - trio.current_time()
            if asked.began < came and pause <= MOST_WAIT:
                await trio.sleep(max(0.0, pause))
                await self._check_again(user, asked)
            return asked.found >= came

    async def _check_again(self, user: str | None, asked: _Asked) -> None:
        asked.began = trio.current_time()
        try:
            await self._check_for_a_while(user, asked)
        finally:  # also if the client leaves
            now = trio.current_time()
            asked.again = now + PAUSE * (now - asked.began)

    async def _check_for_a_while(self, user: str | None, asked: _Asked) -> None:
        try:
            with trio.move_on_after(MOST_SECONDS):
                async with self._limiter:
                    await self._check(user, asked)
        except (LedgerError, StorageError):
            pass  # then the quota refuses the upload; other steps report the failure

    async def _check(self, user: str | None, asked: _Asked) -> None:
        selection, cursor = Selection(user), asked.cursor
        while True:
            entries, following = await self._ledger.files_from(selection, cursor, PAGE)
            if await self._checker.check(entries):
                asked.found = trio.current_time()
            asked.cursor = cursor = following or ""
            if following is None:
                return

    def _find(self, user: str | None) -> _Asked:
        asked = self._users.setdefault(user, _Asked())
        self._users.move_to_end(user)
        while len(self._users) > MOST_REMEMBERED:
            self._users.popitem(last=False)
        return asked
