"""Worker processes for heavy document work: bytes in, bytes out.

A CRDT library may hold the interpreter for seconds or, fed something it cannot bear, take its
process down. Neither may happen to the process that holds the sockets. Each worker has one call
at a time, so a call that crashes or exceeds its time costs its own worker and no other's answer.
A call that nobody waits for any more is not begun, and soon ended.

A call and its answer cross a pair of sockets, each as eight bytes of length and a pickle. The
event loop itself serves the near end: no thread stands in between, which would have to be waked
for every call and contend with the loop for the interpreter.

Workers are forked from a process that has loaded the libraries and nothing else: they are there in
milliseconds, share its memory, and have none of the server's sockets and threads.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from sync.shares import Shares

P = ParamSpec("P")
T = TypeVar("T")

END_SECONDS = 1.0  # for a killed process to be gone
# For a call whose caller left: most end by themselves sooner than a new process is there.
LEFT_SECONDS = 2.0
_LENGTH_BYTES = 8
_PRELOADED = ["sync.document"]


class WorkerPool:
    """`size` processes. A call runs at most `timeout` seconds; past `limit` calls that run or
    wait, further ones are refused as `busy`. `niceness` is that of the processes: with more of it
    they leave the processors to others."""

    def __init__(
        self, size: int = 2, timeout: float = 60.0, limit: int = 1000, niceness: int = 0
    ) -> None:
        self._timeout = timeout
        self._limit = limit
        # No account has all workers, where there are several.
        self._shares = Shares(max(size - 1, 1))
        self._calls: set[asyncio.Task[Any]] = set()
        multiprocessing.set_forkserver_preload(_PRELOADED)
        multiprocessing.forkserver.ensure_running()  # the first call should not wait for it
        self._workers = [Worker(niceness) for _ in range(size)]
        # The last one used comes first: the others may never have to start.
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        for worker in reversed(self._workers):
            self._idle.put_nowait(worker)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a module-level function run in a worker.

        Raises:
            MemoError: `busy` when too many calls wait; `timeout` when it took too long;
                `internal` when it took its worker down twice.
            Exception: whatever the function raised, or that something of it cannot be pickled.
        """
        return await self._result(None, call, *args, **kwargs)

    async def run_for(
        self, account_id: UUID, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, on behalf of an account: of its calls so many run at once that one worker is
        left to others.

        Raises:
            MemoError, Exception: as `run`.
        """
        return await self._result(account_id, call, *args, **kwargs)

    async def _result(
        self, account_id: UUID | None, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if len(self._calls) >= self._limit:
            raise MemoError(ErrorCode.BUSY, "too much document work is waiting", retry_after=5)
        request = _Request(_message((call, args, kwargs)), account_id)
        task = asyncio.get_running_loop().create_task(self._run(request))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            _give_up(request, task)
            raise
        succeeded, result = pickle.loads(answer)  # noqa: S301 (our own process's)
        if not succeeded:
            raise result
        answered: T = result
        return answered

    async def _run(self, request: "_Request") -> bytes:
        if request.account_id is None:
            return await self._ask(request)
        await self._shares.acquire(request.account_id)
        try:
            return await self._ask(request)
        finally:
            self._shares.release(request.account_id)

    async def _ask(self, request: "_Request") -> bytes:
        worker = await self._idle.get()
        request.has_begun = True
        try:
            for _ in range(2):  # it may be that the worker died before, of something else
                try:
                    async with asyncio.timeout(self._timeout):
                        return await worker.ask(request.message)
                except TimeoutError:
                    worker.kill()
                    raise MemoError(
                        ErrorCode.TIMEOUT, "the document took too long to process"
                    ) from None
                except asyncio.CancelledError:
                    worker.kill()  # its answer would be taken for the next call's
                    raise
                except (OSError, EOFError):
                    worker.kill()
            raise MemoError(ErrorCode.INTERNAL, "the document could not be processed")
        finally:
            self._idle.put_nowait(worker)

    def close(self) -> None:
        """End the workers, whatever they do, and the calls that wait for them."""
        for task in self._calls:
            task.cancel()
        for worker in self._workers:
            worker.end()


class _Request:
    """A call on its way to a worker."""

    __slots__ = ("account_id", "has_begun", "message")

    def __init__(self, message: bytes, account_id: UUID | None) -> None:
        self.message = message
        self.account_id = account_id
        self.has_begun = False


def _give_up(request: _Request, task: asyncio.Task[bytes]) -> None:
    """Nobody waits for this call any more."""
    if not request.has_begun:
        task.cancel()
        return
    late = asyncio.get_running_loop().call_later(LEFT_SECONDS, task.cancel)
    task.add_done_callback(partial(_given_up, late))


def _given_up(late: asyncio.TimerHandle, task: asyncio.Task[bytes]) -> None:
    late.cancel()
    if not task.cancelled():
        task.exception()  # it concerns nobody


class Worker:
    """One process, started by the first call, and again by the first after it was killed."""

    def __init__(self, niceness: int = 0) -> None:
        self._niceness = niceness
        self._process: multiprocessing.process.BaseProcess | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._ended = False

    async def ask(self, request: bytes) -> bytes:
        """The answer to a message; one at a time.

        Raises:
            OSError, EOFError: the process is gone.
        """
        if self._writer is None:
            await self._start()
        if self._ended:  # while it was started, perhaps
            self.kill()
            raise EOFError
        assert self._writer is not None
        self._writer.write(request)
        await self._writer.drain()
        length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
        return await self._reader.readexactly(length)

    async def _start(self) -> None:
        if self._ended:
            raise EOFError
        near, far = socket.socketpair()
        context = multiprocessing.get_context("forkserver")
        with far:
            process = context.Process(target=serve, args=(far, self._niceness), daemon=True)
            try:
                process.start()
            except OSError:
                near.close()
                raise
        self._process = process
        self._reader, self._writer = await asyncio.open_unix_connection(sock=near)

    def end(self) -> None:
        """End the process, whatever it does, and start none any more."""
        self._ended = True
        self.kill()

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        if self._process is not None:
            self._process.kill()
            self._process.join(END_SECONDS)
            self._process = None


def serve(connection: socket.socket, niceness: int) -> None:
    """In the worker: answer calls until the other end is closed."""
    _prepare()
    with contextlib.suppress(OSError):  # where that is not allowed, it is as urgent as others
        os.nice(niceness)
    with connection.makefile("rwb") as stream:
        while length := stream.read(_LENGTH_BYTES):
            request = stream.read(int.from_bytes(length))
            try:
                call, args, kwargs = pickle.loads(request)  # noqa: S301 (our own process's)
                answer = _message((True, call(*args, **kwargs)))
            except Exception as error:  # noqa: BLE001 (it is the caller's)
                answer = _failure(error)
            stream.write(answer)
            stream.flush()


def _message(content: object) -> bytes:
    data = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH_BYTES) + data


def _failure(error: Exception) -> bytes:
    error.add_note(f"In a worker process: {''.join(traceback.format_exception(error))}")
    try:
        return _message((False, error))
    except Exception:  # noqa: BLE001 (what an error carries may be anything)
        return _message((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _prepare() -> None:
    """A worker ends when its pool says so or its parent is gone, not with the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A call under way does not see that its answer has nobody to go to.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
