"""How a file is published: what happens to a name that is taken, and how durable it must be."""

from typing import Literal

OnConflict = Literal["rename", "reject", "replace"]
"""What happens if a file of the same name exists: see `storage.on_conflict`."""

Durability = Literal["full", "none"]
"""See `storage.durability`."""
