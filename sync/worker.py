"""Worker processes for heavy document work: bytes in, bytes out.

A CRDT library may hold the interpreter for seconds or, fed something it cannot bear, take its
process down. Neither may happen to the process that holds the sockets. Each worker has one call
at a time, so a call that crashes or exceeds its time costs its own worker and no other's answer.
"""

import asyncio
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from protocol.errors import ErrorCode, MemoError
from sync.tasks import outlived

P = ParamSpec("P")
T = TypeVar("T")


class WorkerPool:
    """`size` processes. A call runs at most `timeout` seconds; past `limit` calls that run or
    wait, further ones are refused as `busy`."""

    def __init__(self, size: int = 2, timeout: float = 60.0, limit: int = 1000) -> None:
        self._timeout = timeout
        self._limit = limit
        self._calls: set[asyncio.Task[Any]] = set()
        self._workers = [_new_worker() for _ in range(size)]
        # The last one used comes first: the others may never have to start.
        self._idle: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        for number in reversed(range(size)):
            self._idle.put_nowait(number)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a module-level function run in a worker.

        Raises:
            MemoError: `busy` when too many calls wait; `timeout` when it took too long;
                `internal` when it took its worker down twice.
            Exception: whatever the function raised.
        """
        if len(self._calls) >= self._limit:
            raise MemoError(ErrorCode.BUSY, "too much document work is waiting", retry_after=5)
        # A caller that goes away leaves its worker busy: the call keeps it until it ends.
        task = asyncio.get_running_loop().create_task(self._run(call, *args, **kwargs))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await outlived(task)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        number = await self._idle.get()
        try:
            for _ in range(2):  # it may be that the worker died before, of something else
                try:
                    future = self._workers[number].submit(call, *args, **kwargs)
                    async with asyncio.timeout(self._timeout):
                        return await asyncio.wrap_future(future)
                except BrokenProcessPool:
                    self._replace(number)
                except TimeoutError:
                    self._replace(number)
                    raise MemoError(
                        ErrorCode.TIMEOUT, "the document took too long to process"
                    ) from None
            raise MemoError(ErrorCode.INTERNAL, "the document could not be processed")
        finally:
            self._idle.put_nowait(number)

    def _replace(self, number: int) -> None:
        _kill(self._workers[number])
        self._workers[number] = _new_worker()

    def close(self) -> None:
        """End the workers, whatever they do, and the calls that wait for them."""
        for task in self._calls:
            task.cancel()
        for worker in self._workers:
            _kill(worker)


def _new_worker() -> ProcessPoolExecutor:
    # spawn: a fork would carry over the sockets and the event loop's threads.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=_prepare)


def _prepare() -> None:
    """A worker ends when its pool says so or its parent is gone, not with the terminal's Ctrl-C;
    and has the CRDT library loaded before the first call waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    importlib.import_module("pycrdt")


def _end_with_parent() -> None:
    # A killed parent says no goodbye, and the pipe that a worker reads it keeps open itself.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _kill(worker: ProcessPoolExecutor) -> None:
    # Until Python 3.14 the executor has no public way to end a busy process.
    for process in list((worker._processes or {}).values()):  # noqa: SLF001
        process.kill()
    worker.shutdown(wait=False, cancel_futures=True)
