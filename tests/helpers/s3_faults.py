"""A client of a bucket that fails, or takes its time, where a test wants it to."""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from helpers.s3_store import LedgerStore

Call = Callable[[], Any]
"""Makes the request."""


class FaultyClient:
    """`inner`, with one method replaced: `act` gets the request, and its arguments."""

    def __init__(self, inner: Any, method: str, act: Callable[..., Any]) -> None:  # noqa: ANN401
        self._inner = inner
        self._method = method
        self._act = act

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        original = getattr(self._inner, name)
        if name != self._method:
            return original
        return lambda *args, **keys: self._act(lambda: original(*args, **keys), *args)


def fail_at(store: LedgerStore, method: str, act: Callable[..., Any]) -> Callable[[], None]:
    """Replace a method of the store's client; call what it returns to undo that."""
    before = store.shared
    client: Any = FaultyClient(before.client, method, act)
    store.shared = evolve(before, client=client)

    def heal() -> None:
        store.shared = before

    return heal
