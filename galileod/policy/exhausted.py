"""A limit that is used up, so that every upload is refused until something is removed."""

from attrs import frozen


@frozen
class Exhausted:
    """The configuration key of the limit, and a sentence for a person that names both values."""

    key: str
    reason: str
