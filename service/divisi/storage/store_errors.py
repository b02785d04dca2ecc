"""Failures of object stores for Prometheus, shown by gateway and worker alike. Needs the extra of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

OPERATIONS = ("put", "get", "head", "list", "delete", "sign")


class StoreErrors(Collector):
    """The sum of counts such as `ObjectStore.failures`, read at each scrape."""

    def __init__(self) -> None:
        self._counts: list[Counter[str]] = []

    def watch(self, failures: Counter[str]) -> None:
        """Shows these counts too, as they stand at each scrape."""
        self._counts.append(failures)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """One sample for each operation, also for those that have not failed yet."""
        family = CounterMetricFamily(
            "divisi_store_errors", "Times the object store was away, by what was asked of it.", labels=["operation"]
        )
        for operation in OPERATIONS:
            family.add_metric([operation], sum(counts[operation] for counts in self._counts))
        yield family
