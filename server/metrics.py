"""Every metric of the server: name, unit and meaning, each declared once."""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# From a tenth of a millisecond, which a commit on a fast disk is near, to what clients give up on.
_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_SLOW = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        self.http_request_duration = Histogram(
            "http_request_duration_seconds",
            "From the request's head to the end of the response, in seconds.",
            ("method", "route", "status_code"),
            buckets=(0.1, 0.3, 0.5, 0.7, 1, 3, 5, 7, 10),
            registry=registry,
        )
        self.http_requests = Counter(
            "http_requests",
            "HTTP requests answered.",
            ("method", "route", "status_code"),
            registry=registry,
        )
        self.websocket_connections = Gauge(
            "websocket_connections_active",
            "Open WebSocket connections, those of stock Yjs clients included.",
            registry=registry,
        )
        self.outbox_bytes = Gauge(
            "memo_outbox_bytes",
            "Bytes that wait to be written to clients, over all connections.",
            registry=registry,
        )
        self.slow_readers = Counter(
            "memo_slow_readers",
            "Times a connection's pushes were let go, to be read from the log once it drains.",
            registry=registry,
        )
        self.refusals = Counter(
            "memo_refusals",
            "Requests and updates refused, by error code.",
            ("code",),
            registry=registry,
        )
        self.rate_limited = Counter(
            "memo_rate_limited",
            "Calls refused because there were too many, by the limit: auth, api, upload, ai, "
            "invite, socket or hello.",
            ("limit",),
            registry=registry,
        )
        self.operation_duration = Histogram(
            "memo_operation_duration_seconds",
            "From a request's frame to its reply, in seconds; the code is `ok` or an error's.",
            ("operation", "code"),
            buckets=_SLOW,
            registry=registry,
        )

        self.rooms = Gauge("memo_rooms_open", "Documents with a room in memory.", registry=registry)
        self.subscriptions = Gauge(
            "memo_subscriptions",
            "Open channels, over all connections.",
            registry=registry,
        )
        self.updates = Counter(
            "memo_updates",
            "Updates received, by outcome: committed, known (changed nothing), or an error code.",
            ("outcome",),
            registry=registry,
        )
        self.deliveries = Counter(
            "memo_deliveries",
            "Pushes handed to connections, one for each receiver.",
            registry=registry,
        )
        self.presence_relayed = Counter(
            "memo_presence_relayed",
            "Awareness messages handed to connections, one for each receiver.",
            registry=registry,
        )

        self.mail = Counter(
            "memo_mail",
            "Messages looked at to be sent, by outcome: sent, postponed, failed, or dropped where "
            "nobody is to get them.",
            ("kind", "outcome"),
            registry=registry,
        )

        self.announcements = Counter(
            "memo_announcements",
            "What other nodes announced of open documents: a commit that was the next, early or a "
            "duplicate, or something malformed.",
            ("outcome",),
            registry=registry,
        )
        self.repair_duration = Histogram(
            "memo_repair_duration_seconds",
            "From noticing that updates of other nodes were missed to their being shown, in "
            "seconds.",
            buckets=_SLOW,
            registry=registry,
        )

        self.broker_up = Gauge(
            "memo_broker_up",
            "Whether messages reach the other nodes now: 1 or 0. 1 where there are none.",
            registry=registry,
        )
        self.broker_dropped = Gauge(
            "memo_broker_dropped",
            "Messages to other nodes that could not be sent, since the start. The others look at "
            "the log instead.",
            registry=registry,
        )

        self.file_bytes = Counter(
            "memo_file_bytes",
            "Bytes of files, by direction: received from clients, or sent to them.",
            ("direction",),
            registry=registry,
        )
        self.uploads_in_progress = Gauge(
            "memo_uploads_in_progress",
            "Requests that bring bytes of files now.",
            registry=registry,
        )
        self.files_stored = Counter(
            "memo_files_stored", "Files that arrived whole.", registry=registry
        )
        self.exports = Counter(
            "memo_exports",
            "Archives of accounts that were made, by outcome: ready, failed (it is tried again, up"
            " to three times), or unwanted meanwhile.",
            ("outcome",),
            registry=registry,
        )
        self.imports = Counter(
            "memo_imports",
            "Archives brought into accounts, by outcome: done, failed, or postponed (it is tried"
            " again).",
            ("outcome",),
            registry=registry,
        )
        self.files_processed = Counter(
            "memo_files_processed",
            "Images looked at, by outcome: thumbnail, or none where there could be no thumbnail.",
            ("outcome",),
            registry=registry,
        )
        self.uploads_expired = Counter(
            "memo_uploads_expired", "Uploads that nobody went on with.", registry=registry
        )
        self.blobs_collected = Counter(
            "memo_blobs_collected",
            "Contents removed from the store, because no file has them any more.",
            registry=registry,
        )

        self.commit_duration = Histogram(
            "memo_commit_duration_seconds",
            "One commit of everything pending: round trip and transaction, in seconds.",
            buckets=_FAST,
            registry=registry,
        )
        self.commit_updates = Histogram(
            "memo_commit_updates",
            "Updates in one commit.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.projection_duration = Histogram(
            "memo_projection_duration_seconds",
            "Bringing one document's rows up to date, in seconds.",
            buckets=_SLOW,
            registry=registry,
        )
        self.projection_failures = Counter(
            "memo_projection_failures",
            "Projections that failed and will be tried again.",
            registry=registry,
        )
        self.unindexed = Gauge(
            "memo_search_queue_memories",
            "Memories that wait for search to read them again, of all nodes together.",
            registry=registry,
        )
        self.indexing_duration = Histogram(
            "memo_indexing_duration_seconds",
            "Reading one memory again for search, in seconds.",
            buckets=_SLOW,
            registry=registry,
        )
        self.compactions = Counter(
            "memo_compactions",
            "Snapshots written.",
            registry=registry,
        )
        self.snapshot_bytes = Histogram(
            "memo_snapshot_bytes",
            "Size of a snapshot written, in bytes.",
            buckets=tuple(4**power for power in range(4, 14)),
            registry=registry,
        )
        self.purges = Counter(
            "memo_purges",
            "Memories removed from the trash for good, by request or after their time.",
            registry=registry,
        )

        self.versions = Counter(
            "memo_versions",
            "Versions of memories made: auto (by the server), named, or before a restore.",
            ("kind",),
            registry=registry,
        )
        self.version_bytes = Histogram(
            "memo_version_bytes",
            "Size of a version made, as it is stored, in bytes.",
            buckets=tuple(4**power for power in range(2, 13)),
            registry=registry,
        )

    def routes(self) -> list[BaseRoute]:
        """`GET /metrics`, as Prometheus text or OpenMetrics, whichever is asked for."""

        async def show(request: Request) -> Response:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(self.registry), media_type=content_type)

        return [Route("/metrics", show, methods=["GET"])]


class GroupMetrics:
    """What is known of the workers behind a port together, in a registry of their own."""

    def __init__(self, workers: int) -> None:
        self.registry = registry = CollectorRegistry()
        self.workers = Gauge("memo_workers", "Workers that there should be.", registry=registry)
        self.workers.set(workers)
        self.up = Gauge(
            "memo_workers_up", "Workers that told of themselves in this scrape.", registry=registry
        )


class HTTPMetrics:
    """ASGI middleware that times the HTTP requests of a Starlette application.

    The label is the template of the route, like `/api/files/{id}`, never the path itself: a
    client must not be able to make new series.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers when the application fails before it does
        started = time.perf_counter()

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            # The router has left the route it chose in the scope.
            route = getattr(scope.get("route"), "path", "unmatched") or "/"
            labels = (_method(scope), route, str(status))
            elapsed = time.perf_counter() - started
            self._metrics.http_request_duration.labels(*labels).observe(elapsed)
            self._metrics.http_requests.labels(*labels).inc()


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return scope["method"] if scope["method"] in known else "other"
