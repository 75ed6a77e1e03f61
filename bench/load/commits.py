"""What the server says of its commits: how many there were, and how long they took."""

from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

METRIC = "memo_commit_duration_seconds"
SECONDS = 10.0


class Commits(NamedTuple):
    """Since the server started; `seconds` is the sum of all."""

    number: float
    seconds: float

    def since(self, earlier: "Commits") -> "Commits":
        return Commits(self.number - earlier.number, self.seconds - earlier.seconds)

    @property
    def mean(self) -> float:
        """The mean time of one, in seconds."""
        return self.seconds / self.number if self.number else 0.0


def read_commits(host: str) -> Commits | None:
    """As `/metrics` has them, of all workers; None where it is not to be had, such as behind a
    proxy that keeps it to itself."""
    try:
        page = httpx.get(f"{host}/metrics", timeout=SECONDS, trust_env=False)
        if not page.is_success:
            return None
        families = list(text_string_to_metric_families(page.text))
    except (httpx.HTTPError, ValueError):
        return None
    samples = [sample for family in families for sample in family.samples]
    return Commits(
        sum(sample.value for sample in samples if sample.name == f"{METRIC}_count"),
        sum(sample.value for sample in samples if sample.name == f"{METRIC}_sum"),
    )
