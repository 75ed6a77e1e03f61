"""Merging what several workers say of themselves."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from server.processes.exposition import merged

AWKWARD = 'a "quoted" {brace}, a \\ and a\nnewline with a\u2028separator'


def worker(number: int) -> CollectorRegistry:
    """What a worker may have to tell; each one has a metric that the others lack."""
    registry = CollectorRegistry()
    Gauge("plain", "Without labels.", registry=registry).set(number + 0.5)
    counter = Counter("labelled", "With labels.", ("code",), registry=registry)
    counter.labels(AWKWARD).inc(number + 1)
    counter.labels("ok").inc(10)
    histogram = Histogram("seconds", "In buckets.", buckets=(0.1, 1), registry=registry)
    histogram.observe(0.05, {"trace": "a b"})
    Counter("unused", "With labels, and nothing counted.", ("code",), registry=registry)
    Gauge(f"only_{number}", "Of one worker.", registry=registry).set(1)
    return registry


def parsed(*, openmetrics: bool) -> dict[str, Metric]:
    generate = generate_openmetrics if openmetrics else generate_latest
    parts = [(f'worker="{number}"', generate(worker(number)).decode()) for number in (0, 1)]
    of_all = CollectorRegistry()
    Gauge("up", "Of all together.", registry=of_all).set(2)
    text = merged([*parts, ("", generate(of_all).decode())])
    parse = parse_openmetrics if openmetrics else text_string_to_metric_families
    families = list(parse(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_sample_keeps_its_value_and_gets_its_workers_label(openmetrics: bool) -> None:
    families = parsed(openmetrics=openmetrics)

    def values(family: str, name: str) -> dict[tuple[str | None, ...], float]:
        return {
            (sample.labels.get("worker"), sample.labels.get("code"), sample.labels.get("le")): (
                sample.value
            )
            for sample in families[family].samples
            if sample.name == name
        }

    assert values("plain", "plain") == {("0", None, None): 0.5, ("1", None, None): 1.5}
    assert values("labelled", "labelled_total") == {
        ("0", AWKWARD, None): 1,
        ("0", "ok", None): 10,
        ("1", AWKWARD, None): 2,
        ("1", "ok", None): 10,
    }
    assert values("seconds", "seconds_bucket") == {
        (number, None, bound): 1 for number in "01" for bound in ("0.1", "1.0", "+Inf")
    }
    assert values("up", "up") == {(None, None, None): 2}
    assert values("only_0", "only_0") == {("0", None, None): 1}
    assert values("only_1", "only_1") == {("1", None, None): 1}
    assert families["unused"].samples == []
    assert families["labelled"].documentation == "With labels."
    assert families["labelled"].type == "counter"


def test_exemplars_stay_what_they_are() -> None:
    samples = parsed(openmetrics=True)["seconds"].samples
    exemplars = [sample.exemplar.labels for sample in samples if sample.exemplar]
    assert exemplars == [{"trace": "a b"}] * 2


def test_nobody_answering_is_an_exposition_too() -> None:
    assert list(text_string_to_metric_families(merged([]))) == []
