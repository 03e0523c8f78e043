"""The engines by name."""

from typing import Final

from .ceph import Ceph
from .engine import Engine
from .postgresql import Postgresql
from .swift import Swift
from .weed import Weed

KINDS: Final[dict[str, type[Engine]]] = {kind.name: kind for kind in (Ceph, Weed, Swift)}
"""Object stores. Ceph is the reference."""

ALL: Final[dict[str, type[Engine]]] = {**KINDS, Postgresql.name: Postgresql}
