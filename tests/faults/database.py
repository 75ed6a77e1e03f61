"""The site's PostgreSQL, that can be stopped, killed, and filled up."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil

from storage.embedded import EmbeddedPostgres
from storage.postgres import connect, migrate
from tests.conftest import fresh_directory
from tests.faults.patience import until

DISK_BYTES = 224 << 20  # of the small disk: an empty cluster takes a third of it
SETTINGS = {"max_connections": "60", "shared_buffers": "32MB"}
# Little of the small disk may go to a log that is kept to be written again.
SMALL_DISK_SETTINGS = {"min_wal_size": "32MB", "max_wal_size": "64MB"}
UNMOUNT_SECONDS = 10.0
_BLOCK = bytes(1 << 16)


class Database:
    """A PostgreSQL of its own in `directory`, with fsync on. With `small_disk` the directory is
    a disk that `fill` can fill."""

    def __init__(self, directory: Path, *, small_disk: bool) -> None:
        settings = SETTINGS | (SMALL_DISK_SETTINGS if small_disk else {})
        self._server = EmbeddedPostgres(directory, settings=settings)
        self._ballast = directory / "ballast"
        self.url = ""  # the same over restarts; there is none before the first start

    async def start(self) -> None:
        """Start, and return when it answers."""
        await asyncio.to_thread(self._server.start)
        self.url = self._server.url

    async def stop(self) -> None:
        """A fast shutdown, as an administrator asks for it."""
        await asyncio.to_thread(self._server.stop)

    async def migrate(self) -> None:
        pool = await connect(self.url)
        await migrate(pool)
        await pool.close()

    async def kill(self) -> None:
        """End all its processes at once, as a power cut would."""
        pid = self._server.pid
        if pid is None:
            return
        postmaster = psutil.Process(pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue  # it ended with its postmaster
        await self.stop()

    async def fill(self) -> None:
        """Leave no room on its disk; returns when PostgreSQL has run into that.

        Raises:
            TimeoutError: it did not within half a minute.
        """
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(_BLOCK)
            except OSError:
                """The disk is full."""
        await until(self._refuses, 30)

    async def _refuses(self) -> bool:
        return not await self._takes()

    async def _takes(self) -> bool:
        """Whether a statement that needs room succeeds."""
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
            try:
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS ballast (filling text);"
                    "INSERT INTO ballast SELECT repeat('x', 1000) FROM generate_series(1, 200)",
                    timeout=5,
                )
            finally:
                await connection.close(timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def free(self) -> None:
        """Make room again. A PostgreSQL that gave up meanwhile is started."""
        self._ballast.unlink()
        if self._server.ended:
            await asyncio.to_thread(self._server.restart)
        await until(self._takes, 60)
        connection = await asyncpg.connect(self.url)
        await connection.execute("DROP TABLE ballast")
        await connection.close()


def may_mount() -> bool:
    """Whether this user may mount a small disk here."""
    if os.geteuid() != 0:
        return False
    with fresh_directory() as place:
        mounted = _mount(place)
        if mounted:
            _unmount(place)
    return mounted


@contextmanager
def small_disk() -> Iterator[Path]:
    """A directory on a disk of DISK_BYTES."""
    with fresh_directory() as place:
        assert _mount(place)
        place.chmod(0o755)
        try:
            yield place
        finally:
            _unmount(place)


def _mount(place: Path) -> bool:
    options = f"size={DISK_BYTES},mode=755"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _unmount(place: Path) -> None:
    deadline = time.monotonic() + UNMOUNT_SECONDS
    while subprocess.run(["umount", place], capture_output=True, check=False).returncode:
        # PostgreSQL's log writer ends a moment after all the others.
        assert time.monotonic() < deadline, f"{place} cannot be unmounted"
        time.sleep(0.02)
