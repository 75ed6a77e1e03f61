"""The metrics of several workers as one answer: a scrape reaches one of them, by chance."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import httpx
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.metrics import GroupMetrics

ANSWER_SECONDS = 1.0  # for a worker to tell of itself
SUFFIX = ".sock"  # of the workers' own sockets, whose names are their numbers

_END = "# EOF"  # of OpenMetrics


class GatheredMetrics:
    """ASGI middleware of one of several workers: `/metrics` is what all of them say.

    Each worker also listens on a Unix socket in `directory`, and tells of itself alone there. One
    that does not answer in time is left out, and counted as not up.
    """

    def __init__(self, app: ASGIApp, directory: Path, workers: int) -> None:
        self._app = app
        self._directory = directory
        self._group = GroupMetrics(workers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _asks_for_metrics(scope) and not _came_by_unix_socket(scope):
            response = await self._gather(Request(scope).headers.get("accept", ""))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _gather(self, accept: str) -> Response:
        places = sorted(self._directory.glob(f"*{SUFFIX}"), key=lambda place: int(place.stem))
        answers = await asyncio.gather(*(_ask(place, accept) for place in places))
        told = [
            (f'worker="{place.stem}"', answer)
            for place, answer in zip(places, answers, strict=True)
            if answer is not None
        ]
        self._group.up.set(len(told))
        encode, content_type = choose_encoder(accept)
        told.append(("", encode(self._group.registry).decode()))
        return Response(merged(told), media_type=content_type)


def merged(expositions: Iterable[tuple[str, str]]) -> str:
    """One exposition of several, in the text format of Prometheus or in OpenMetrics. Each comes
    with a label that is put on all its samples (like `worker="0"`; or none, an empty one)."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    end: list[str] = []
    for label, text in expositions:
        known = frozenset(heads)
        family = ""
        for line in text.split("\n"):
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
            if line == _END:
                end = [line]
            elif line.startswith("# "):
                if family not in known:
                    heads.setdefault(family, []).append(line)
            elif line:
                samples.setdefault(family, []).append(_labelled(line, label))
    # The samples of a family have to be together, under one head.
    lines = [line for name, head in heads.items() for line in (*head, *samples.get(name, ()))]
    return "\n".join([*lines, *end, ""])


def _labelled(sample: str, label: str) -> str:
    """The sample with one more label in front of its others."""
    if not label:
        return sample
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f"{name}{{{label},{rest}"
    name, _, rest = sample.partition(" ")
    return f"{name}{{{label}}} {rest}"


async def _ask(place: Path, accept: str) -> str | None:
    """What the worker that listens at `place` says; None if it does not answer in time."""
    transport = httpx.AsyncHTTPTransport(uds=str(place), verify=False, trust_env=False)
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            httpx.AsyncClient(transport=transport, trust_env=False) as client,
        ):
            answer = await client.get("http://worker/metrics", headers={"Accept": accept})
    except (httpx.HTTPError, TimeoutError):
        return None
    return answer.text if answer.status_code == 200 else None


def _asks_for_metrics(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["path"] == "/metrics"
        and scope["method"] in ("GET", "HEAD")
    )


def _came_by_unix_socket(scope: Scope) -> bool:
    """A server's address is (path, None) then."""
    server = scope.get("server")
    return server is None or server[1] is None
