"""An event loop in a thread of its own, for those who wait in another way."""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import Thread
from typing import Any, Self, TypeVar

import uvloop

START_SECONDS = 10.0
STOP_SECONDS = 10.0
TICK_SECONDS = 0.05

T = TypeVar("T")


class LoopThread:
    """It is entered and left. `latest` is the longest time in seconds that the loop has kept a
    timer waiting: what it takes at most from a time that was measured on it."""

    def __init__(self) -> None:
        self.latest = 0.0
        self._loop = uvloop.new_event_loop()
        self._thread = Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs on it."""
        self.submit(self._cancel_all()).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine. To cancel the future cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        watch = self._loop.create_task(self._watch(), name="lateness")
        self._loop.run_forever()
        assert watch.done()

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.latest = max(self.latest, time.perf_counter() - due)

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
