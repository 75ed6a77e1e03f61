"""Ownership of background tasks: none is lost, none outlives its owner."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Tasks:
    """A set of running tasks. An error in one is reported, not swallowed."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine until it ends or `cancel` is called."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def cancel(self, timeout: float = 5.0) -> None:
        """Cancel what still runs and wait until it has ended, at most `timeout` seconds."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=timeout)


class Shared(Generic[T]):
    """A task whose result several wait for. It ends when nobody does any more."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self._task = task
        self._waiting = 0

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it now."""
        return not self._waiting

    async def result(self) -> T:
        """What the task returns or raises."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._task.cancel()


async def outlived(task: asyncio.Task[T]) -> T:
    """The result of a task that goes on when its caller is cancelled. Its error, should it then
    fail, concerns nobody any more."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        raise
