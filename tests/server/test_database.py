"""The database that the settings name."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import database as module
from server.config import Settings
from storage.postgres import DatabaseUnavailable

SECONDS = 20.0


class Ending:
    """An embedded PostgreSQL that has ended, and whose restarts fail one by one."""

    url = "postgresql:///nowhere"

    def __init__(self, failures: Iterator[Exception]) -> None:
        self.ended = False
        self.failures = failures
        self.restarted = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        self.ended = True

    def restart(self) -> None:
        for failure in self.failures:
            raise failure
        self.ended = False
        self._loop.call_soon_threadsafe(self.restarted.set)

    def stop(self) -> None:
        pass


async def test_an_embedded_database_is_started_again_whatever_the_last_start_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    ending = Ending(iter([DatabaseUnavailable("full"), ValueError("a defect"), OSError("away")]))
    monkeypatch.setattr(module, "EmbeddedPostgres", lambda *_, **__: ending)
    async with module.address(Settings(data_directory=tmp_path)), asyncio.timeout(SECONDS):
        await ending.restarted.wait()
