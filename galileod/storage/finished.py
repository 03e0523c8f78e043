"""What a store tells about files that are finished."""

from attrs import frozen


@frozen
class Standing:
    """A finished file as it is now: `size` in bytes, `modified_ns` in nanoseconds since 1970."""

    size: int
    modified_ns: int


@frozen
class Removed:
    """A file of that `name` is not stored any more; `found` tells whether it was until now."""

    name: str
    found: bool
