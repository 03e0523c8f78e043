"""The faults of a role, by name."""

from collections.abc import Callable
from typing import TypeVar

Peer = TypeVar("Peer")


def registrar(faults: dict[str, type[Peer]]) -> Callable[[str], Callable[[type[Peer]], type[Peer]]]:
    """A decorator for the classes with a fault; their docstring is the description."""

    def fault(name: str) -> Callable[[type[Peer]], type[Peer]]:
        def register(peer: type[Peer]) -> type[Peer]:
            faults[name] = peer
            return peer

        return register

    return fault
