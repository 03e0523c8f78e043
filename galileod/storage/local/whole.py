"""Complete files between the thread call that writes them and the one that publishes them."""

from collections.abc import Sequence
from copy import copy

from attrs import define, field

from galileod.storage.base import Stored
from galileod.storage.errors import StorageError
from galileod.storage.whole import WholeFile, Written

from .batchpublish import BatchPublisher
from .batchwrite import BatchWriter, LocalWritten
from .parts import StoreParts


@define(eq=False)
class WholeFiles:
    """Writes, publishes and discards complete files. `write`, `publish` and `discard` block."""

    _parts: StoreParts
    _unpublished: set[LocalWritten] = field(init=False, factory=set)

    def write(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        """See `Store.write_whole`."""
        results = BatchWriter(self._parts).write(files)
        self._unpublished.update(one for one in results if isinstance(one, LocalWritten))
        return results

    def publish(self, files: Sequence[Written]) -> Sequence[Stored | StorageError]:
        """See `Store.publish_whole`."""
        ours = dict[int, LocalWritten]()
        for at, one in enumerate(files):
            if isinstance(one, LocalWritten) and one in self._unpublished:
                self._unpublished.discard(one)
                ours[at] = one
        results = BatchPublisher(self._parts, ours).publish()
        ended = StorageError("the file was published or discarded")
        return [results[at] if at in results else copy(ended) for at in range(len(files))]

    def discard(self, files: Sequence[Written]) -> None:
        """See `Store.discard_whole`."""
        for one in self.unpublished(files):
            self._unpublished.discard(one)
            one.discard(self._parts)

    def unpublished(self, files: Sequence[Written]) -> Sequence[LocalWritten]:
        """Those of the files that are neither published nor discarded."""
        return [one for one in files if isinstance(one, LocalWritten) and one in self._unpublished]
