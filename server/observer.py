"""What the sync layer tells of itself, as metrics and log lines."""

from uuid import UUID

import structlog

from server.metrics import Metrics
from sync.interfaces import Subscriber

logger = structlog.get_logger("sync")


class MetricsObserver:
    """Counts in `metrics` and logs what an operator should know."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._committed = metrics.updates.labels("committed")

    def committed(self, updates: int, seconds: float) -> None:
        self._committed.inc(updates)
        self._metrics.commit_updates.observe(updates)
        self._metrics.commit_duration.observe(seconds)

    def known(self, updates: int) -> None:
        self._metrics.updates.labels("known").inc(updates)

    def delivered(self, count: int) -> None:
        self._metrics.deliveries.inc(count)

    def refused(self, code: str) -> None:
        self._metrics.updates.labels(code).inc()
        self._metrics.refusals.labels(code).inc()

    def fell_behind(self, document_id: UUID, subscriber: Subscriber) -> None:
        self._metrics.slow_readers.inc()
        logger.warning(
            "slow reader: its pushes are let go until it drains",
            document=str(document_id),
            connection=subscriber.id,
            account=str(subscriber.author.account_id),
            device=subscriber.author.device_id,
        )

    def presence(self, count: int) -> None:
        self._metrics.presence_relayed.inc(count)

    def projected(self, seconds: float) -> None:
        self._metrics.projection_duration.observe(seconds)

    def failed(self, what: str, document_id: UUID | None, error: BaseException) -> None:
        if what == "projection":
            self._metrics.projection_failures.inc()
        logger.error(
            "work failed",
            work=what,
            document=str(document_id) if document_id else None,
            exc_info=error if not isinstance(error, TimeoutError) else None,
            error=str(error),
        )

    def compacted(self, document_id: UUID, size: int) -> None:
        self._metrics.compactions.inc()
        self._metrics.snapshot_bytes.observe(size)
        logger.debug("snapshot written", document=str(document_id), bytes=size)

    def versioned(self, document_id: UUID, kind: str, size: int) -> None:
        self._metrics.versions.labels(kind).inc()
        self._metrics.version_bytes.observe(size)
        logger.debug("version made", document=str(document_id), kind=kind, bytes=size)

    def purged(self, memories: int) -> None:
        self._metrics.purges.inc(memories)

    def unindexed(self, memories: int) -> None:
        self._metrics.unindexed.set(memories)

    def indexed(self, seconds: float) -> None:
        self._metrics.indexing_duration.observe(seconds)

    def heard(self, what: str) -> None:
        self._metrics.announcements.labels(what).inc()

    def repaired(self, seconds: float) -> None:
        self._metrics.repair_duration.observe(seconds)
