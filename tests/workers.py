"""A server of several workers as its users run it, and what can be seen of it from outside."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.redisserver import RedisServer
from tests.serving import START_SECONDS, STOP_SECONDS, ServerProcess


class WorkersProcess(ServerProcess):
    """`memo serve` with two workers; `start` returns when both take requests."""

    count = 2

    def __init__(
        self, directory: Path, redis: RedisServer, database: str | None = None, **environ: str
    ) -> None:
        super().__init__(
            directory,
            database,
            **{
                "REDIS_URL": redis.url,
                "WORKERS": str(self.count),
                "TMPDIR": str(directory),  # a killed one leaves its sockets behind
                **environ,
            },
        )
        self._left: list[psutil.Process] = []

    def start(self) -> None:
        before = self.banners if self.log.exists() else 0
        super().start()
        until(lambda: self.banners > before, "the banner")
        # A worker may be replaced by another, but whoever runs now is to be gone in the end.
        self._left = self.processes

    @property
    def banners(self) -> int:
        """How often it has said that it is running."""
        return self.log.read_text().count("is running.")

    @property
    def processes(self) -> list[psutil.Process]:
        """All processes that the server has started, and theirs."""
        return psutil.Process(self.pid).children(recursive=True)

    @property
    def workers(self) -> dict[int, psutil.Process]:
        """The workers' processes by number."""
        found = {}
        for process in psutil.Process(self.pid).children():
            command = process.cmdline()
            if "worker" in command:
                found[int(command[command.index("--number") + 1])] = process
        return found

    def events(self, name: str) -> list[dict[str, object]]:
        """The lines of the log with this event."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        events: list[dict[str, object]] = [msgspec.json.decode(line) for line in lines]
        return [event for event in events if event["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> None:
        """Return when the event has been logged so often."""
        until(lambda: len(self.events(name)) >= count, name)

    def wait_until_nothing_is_left(self) -> None:
        """Return when none of the server's processes runs."""
        until(lambda: all(_is_gone(process) for process in self._left), "the end", STOP_SECONDS)

    def samples(self, name: str, **labels: str) -> dict[str, float]:
        """What a scrape now says of a metric: see `samples`."""
        return samples(httpx.get(f"{self.url}/metrics", timeout=10).text, name, **labels)


def samples(exposition: str, name: str, **labels: str) -> dict[str, float]:
    """The sum of a metric's samples with these labels, by worker ("" for all together)."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                worker = sample.labels.get("worker", "")
                sums[worker] = sums.get(worker, 0) + sample.value
    return sums


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Return when the condition holds; there is no event of another process to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.02)


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
