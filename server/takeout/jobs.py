"""Jobs that wait in the database, carried out in the background: on any node, few at a time on
each."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from protocol.errors import MemoError
from storage import outage

LOOK_SECONDS = 15.0  # between two looks for what a restart or another node left
MOST_SECONDS = 6 * 3600.0  # for one job

log = structlog.get_logger(__name__)


class Jobs:
    """`run` it as one task. `carry_out` does the job that has waited longest, and says whether
    there was one: `at_once` are under way at a time. `tidy` is called when there is none. `kind`
    names the jobs in the log."""

    def __init__(
        self,
        kind: str,
        carry_out: Callable[[], Awaitable[bool]],
        tidy: Callable[[], Awaitable[object]] | None = None,
        *,
        at_once: int = 1,
    ) -> None:
        self._kind = kind
        self._carry_out = carry_out
        self._tidy = tidy
        self._at_once = at_once
        self._news = asyncio.Event()

    def look(self) -> None:
        """There is a job: it is looked for at once."""
        self._news.set()

    async def run(self) -> None:
        """Carry out what waits, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._run())

    async def _run(self) -> None:
        while True:
            # Whoever hears of a job first takes it; who comes too late finds none.
            self._news.clear()
            try:
                with outage.reported():
                    while await self._carry_out():
                        pass
                    if self._tidy is not None:
                        await self._tidy()
            except MemoError as error:
                log.debug("jobs.not_looked_at", kind=self._kind, error=str(error))
            except Exception:
                log.exception("jobs.not_looked_at", kind=self._kind)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
