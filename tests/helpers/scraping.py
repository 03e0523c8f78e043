"""What a scrape says."""

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples in the text of one scrape, and the names of its `metrics`."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in families for sample in family.samples]
        self.metrics = {
            family.name + ("_total" if family.type == "counter" else "") for family in families
        }

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
