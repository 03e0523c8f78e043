"""What a scrape says."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Scrape:
    """The samples in the text of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = list(_samples(text))

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of one series, or None where there is no such series."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def total(self, name: str) -> float:
        """All series of that name together; there must be one."""
        values = [sample.value for sample in self.samples if sample.name == name]
        assert values, name
        return sum(values)

    @property
    def labels(self) -> dict[str, set[str]]:
        """The names of the labels that the series of each name have."""
        labels: dict[str, set[str]] = {}
        for sample in self.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
        return labels


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples
