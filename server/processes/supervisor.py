"""WORKERS: several nodes behind one port, started, watched, restarted and drained by a parent.

The parent owns what they share: the port's sockets, the embedded PostgreSQL, the schema. It
serves nobody itself.
"""

import asyncio
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from server.config import ConfigError, Settings
from server.database import address, pooled
from server.processes.listeners import Listeners
from server.processes.process import NotReady, Process
from server.processes.signals import handled
from server.processes.terminal import Terminal
from storage.claim import Claim
from storage.postgres import migrate

STARTS = 5  # in a row that fail, before it is given up
FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0  # seconds before a worker that ended is started again
STEADY_SECONDS = 30.0  # after which its end is not taken for one more of a row
STOP_SECONDS = 20.0  # for a worker to end; it drains for eight of them at most
CONFIGURATION = 2  # a worker's exit code when no other try will help

logger = structlog.get_logger("server")


class WorkersFailed(Exception):
    """The workers cannot be kept running; the message is one line for their operator."""


async def serve(
    settings: Settings,
    environ: Mapping[str, str],
    listeners: Listeners,
    *,
    ready: Callable[[int], None],
) -> None:
    """Serve with `settings.workers` processes, each with `environ`, until SIGTERM or SIGINT.
    `ready` is called with the port, once, when all of them take requests. SIGHUP replaces them
    one by one.

    Raises:
        WorkersFailed: they cannot be started.
        ConfigError: they refuse the configuration.
        DatabaseUnavailable, SchemaError: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(address(settings))
        # A server that would not hear of the workers is found before its schema is changed.
        await stack.enter_async_context(Claim.held(url, shared=True))
        async with pooled(url, size=1) as pool:
            await migrate(pool)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="memo-"))
        supervisor = Supervisor(
            listeners,
            {**environ, "DATABASE_URL": url},
            Path(directory),
            settings.workers,
            lambda: ready(listeners.port),
        )
        await supervisor.run()


class _Slot:
    """A worker's place, whichever process fills it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.changing = asyncio.Lock()  # held while a process for it is started or replaced


class Supervisor:
    """Keeps `workers` processes running on `listeners`; see `serve`."""

    def __init__(
        self,
        listeners: Listeners,
        environ: Mapping[str, str],
        directory: Path,
        workers: int,
        ready: Callable[[], None],
    ) -> None:
        self._listeners = listeners
        self._environ = environ
        self._directory = directory
        self._slots = [_Slot(number) for number in range(workers)]
        self._tell_ready = ready
        self._was_ready = False
        self._failures = 0  # starts that failed since one succeeded
        self._processes: set[Process] = set()  # all that may still run
        self._stopping = asyncio.Event()
        self._restart_asked = asyncio.Event()
        self._terminal = Terminal()

    async def run(self) -> None:
        """Run until a signal asks to stop; no worker is left then.

        Raises:
            WorkersFailed, ConfigError: as `serve`.
        """
        with handled(self._asked_to_stop, self._hung_up):
            self._listeners.open()
            tasks = [
                asyncio.create_task(self._stopping.wait()),
                asyncio.create_task(self._restart_when_asked()),
                *(asyncio.create_task(self._keep(slot)) for slot in self._slots),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                # Who comes now is to be refused, not to wait for nobody.
                self._listeners.close()
                await self._end(self._processes)
            for task in done:
                task.result()

    # Signals

    def _asked_to_stop(self) -> None:
        if self._stopping.is_set():
            for process in self._processes:
                process.hurry()
        self._stopping.set()

    def _hung_up(self) -> None:
        if self._terminal.gone:
            self._stopping.set()
        else:
            self._restart_asked.set()

    # Workers

    async def _keep(self, slot: _Slot) -> None:
        """Have a process in the slot, again and again."""
        pause = FIRST_PAUSE
        while True:
            async with slot.changing:
                if slot.process is None:
                    await self._fill(slot)
            if (process := slot.process) is not None:
                await process.ended()
                if slot.process is not process:
                    continue  # it was replaced
                slot.process = None
                logger.error("a worker ended", worker=slot.number, pid=process.pid, end=process.end)
                if process.age >= STEADY_SECONDS:
                    pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _fill(self, slot: _Slot) -> None:
        """Start a process for the slot, or find out that it is no use."""
        try:
            slot.process = await self._start(slot.number)
        except NotReady as error:
            self._failed(slot, error)
            return
        self._failures = 0
        if not self._was_ready and all(slot.process for slot in self._slots):
            self._was_ready = True
            self._tell_ready()

    def _failed(self, slot: _Slot, error: NotReady) -> None:
        if not self._was_ready and error.code == CONFIGURATION:
            raise ConfigError(str(error))
        self._failures += 1
        logger.error("a worker could not be started", worker=slot.number, reason=str(error))
        if self._failures < STARTS:
            return
        if not (self._was_ready and any(slot.process for slot in self._slots)):
            raise WorkersFailed(f"workers could not be started, {STARTS} times in a row: {error}")
        try:
            self._listeners.withdraw(slot.number)
        except OSError as refusal:
            # The next start that fails tries again; the other workers go on.
            logger.error(  # noqa: TRY400 (one line)
                "a worker's socket could not be withdrawn", worker=slot.number, reason=str(refusal)
            )

    async def _start(self, number: int) -> Process:
        """A process that takes requests.

        Raises:
            NotReady: it does not come to that.
        """
        listener = self._listeners[number]
        process = await Process.started(number, listener, self._directory, self._environ)
        self._processes = {other for other in self._processes if not other.has_ended} | {process}
        await process.ready()
        logger.info("a worker is ready", worker=number, pid=process.pid)
        return process

    async def _restart_when_asked(self) -> None:
        while True:
            await self._restart_asked.wait()
            self._restart_asked.clear()
            await self._restart()

    async def _restart(self) -> None:
        """Replace the processes one by one, each by one that takes requests already."""
        logger.info("restarting the workers, one by one")
        for slot in self._slots:
            async with slot.changing:
                try:
                    new = await self._start(slot.number)
                except NotReady as error:
                    logger.warning(
                        "the restart stopped here: a new worker could not be started, and the "
                        "old ones go on",
                        worker=slot.number,
                        reason=str(error),
                    )
                    return
                old, slot.process = slot.process, new
                if old is not None:
                    await self._end([old])
        logger.info("the workers have been restarted")

    async def _end(self, processes: Collection[Process]) -> None:
        """Drain the processes, all at once; returns when they are gone."""
        endings = {asyncio.create_task(process.ended()): process for process in processes}
        for process in processes:
            process.terminate()
        try:
            if endings:
                await asyncio.wait(endings, timeout=STOP_SECONDS)
            for ending, process in endings.items():
                if not ending.done():
                    logger.warning("a worker did not end in time", worker=process.number)
                    process.kill()
                    await ending
        finally:
            for ending in endings:
                ending.cancel()
