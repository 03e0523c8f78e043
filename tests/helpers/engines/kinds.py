"""The engines by name. Ceph is the reference."""

from typing import Final

from .ceph import Ceph
from .engine import Engine
from .swift import Swift
from .weed import Weed

KINDS: Final[dict[str, type[Engine]]] = {kind.name: kind for kind in (Ceph, Weed, Swift)}
