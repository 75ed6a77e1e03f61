"""Metrics: their names and labels, on a real Starlette application."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from server.metrics import HTTPMetrics, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    async def greet(request: Request) -> Response:
        return Response(f"hello {request.path_params['name']}")

    async def fail(_: Request) -> Response:
        raise RuntimeError

    app = Starlette(
        routes=[
            Route("/greet/{name}", greet),
            Route("/fail", fail),
            Mount("/assets", Starlette(routes=[Route("/{file}", greet)])),
            *metrics.routes(),
        ]
    )
    transport = httpx.ASGITransport(HTTPMetrics(app, metrics), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://memo") as client:
        yield client


async def requests_counted(client: httpx.AsyncClient) -> dict[tuple[str, str, str], float]:
    text = (await client.get("/metrics")).text
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status_code"]): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_requests_total"
    }


async def test_a_request_counts_under_its_routes_template(client: httpx.AsyncClient) -> None:
    for name in ("ann", "bob"):
        await client.get(f"/greet/{name}")
    assert await requests_counted(client) == {("GET", "/greet/{name}", "200"): 2}


async def test_no_path_or_method_of_a_clients_choice_becomes_a_series(
    client: httpx.AsyncClient,
) -> None:
    await client.get("/no/such/place")
    await client.request("BREW", "/coffee")
    assert await requests_counted(client) == {
        ("GET", "unmatched", "404"): 1,
        ("other", "unmatched", "404"): 1,
    }


async def test_a_handler_that_fails_counts_as_500(client: httpx.AsyncClient) -> None:
    assert (await client.get("/fail")).status_code == 500
    assert await requests_counted(client) == {("GET", "/fail", "500"): 1}


async def test_the_duration_has_the_buckets_of_the_plan(
    client: httpx.AsyncClient, metrics: Metrics
) -> None:
    await client.get("/greet/ann")
    buckets = [
        sample.labels["le"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "http_request_duration_seconds_bucket"
    ]
    assert buckets == ["0.1", "0.3", "0.5", "0.7", "1.0", "3.0", "5.0", "7.0", "10.0", "+Inf"]


async def test_every_metric_has_a_meaning_and_a_name_of_ours(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    families = list(text_string_to_metric_families(text))
    for family in families:
        assert family.documentation, family.name
        assert family.name.startswith(("http_", "websocket_", "memo_", "process_", "python_"))
    assert len({family.name for family in families}) == len(families)
    assert {"process_resident_memory_bytes", "python_info"} <= {f.name for f in families}


async def test_openmetrics_is_spoken_to_who_asks_for_it(client: httpx.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    asked = {"accept": "application/openmetrics-text; version=1.0.0"}
    response = await client.get("/metrics", headers=asked)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.updates.labels("committed").inc()
    assert first.registry.get_sample_value("memo_updates_total", {"outcome": "committed"}) == 1
    assert second.registry.get_sample_value("memo_updates_total", {"outcome": "committed"}) is None
