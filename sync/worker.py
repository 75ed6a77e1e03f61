"""Worker processes for heavy document work: bytes in, bytes out.

A CRDT library may hold the interpreter for seconds or, fed something it cannot bear, take its
process down. Neither may happen to the process that holds the sockets. A call that exceeds its
time costs its worker, and the calls that shared it run once more on a new one.
"""

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from protocol.errors import ErrorCode, MemoError

P = ParamSpec("P")
T = TypeVar("T")


def _prepare() -> None:
    """A worker ends when its pool says so, not with the terminal's Ctrl-C; and has the CRDT
    library loaded before the first call waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import pycrdt  # noqa: F401


class WorkerPool:
    """`size` processes. A call waits at most `timeout` seconds for its answer; past `limit`
    waiting calls, further ones are refused as `busy`."""

    def __init__(self, size: int = 2, timeout: float = 60.0, limit: int = 1000) -> None:
        self._size = size
        self._timeout = timeout
        self._limit = limit
        self._waiting = 0
        self._turns = asyncio.Semaphore(size)
        self._executor = self._new_executor()

    def _new_executor(self) -> ProcessPoolExecutor:
        # spawn: a fork would carry over the sockets and the event loop's threads.
        return ProcessPoolExecutor(
            self._size, multiprocessing.get_context("spawn"), initializer=_prepare
        )

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a module-level function run in a worker.

        Raises:
            MemoError: `busy` when too many calls wait; `timeout` when it took too long;
                `internal` when it took its worker down twice.
            Exception: whatever the function raised.
        """
        if self._waiting >= self._limit:
            raise MemoError(ErrorCode.BUSY, "too much document work is waiting", retry_after=5)
        self._waiting += 1
        try:
            async with self._turns:
                for _ in range(2):
                    executor = self._executor
                    try:
                        future = executor.submit(call, *args, **kwargs)
                        async with asyncio.timeout(self._timeout):
                            return await asyncio.wrap_future(future)
                    except BrokenProcessPool:
                        self._replace(executor)
                    except TimeoutError:
                        self._replace(executor)
                        raise MemoError(
                            ErrorCode.TIMEOUT, "the document took too long to process"
                        ) from None
            raise MemoError(ErrorCode.INTERNAL, "the document could not be processed")
        finally:
            self._waiting -= 1

    def _replace(self, executor: ProcessPoolExecutor) -> None:
        if executor is not self._executor:
            return  # another call saw the same pool break, and has replaced it
        self._executor = self._new_executor()
        _kill(executor)

    def close(self) -> None:
        """End the workers, whatever they do."""
        _kill(self._executor)


def _kill(executor: ProcessPoolExecutor) -> None:
    # Until Python 3.14 the executor has no public way to end a busy worker.
    for process in list((executor._processes or {}).values()):
        process.kill()
    executor.shutdown(wait=False, cancel_futures=True)
