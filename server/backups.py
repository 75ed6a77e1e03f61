"""`memo backup` and `memo restore`."""

import argparse
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.config import Settings
from server.database import address, pooled
from storage.archive import Archive, ArchiveWriter, BackupError, Manifest
from storage.backup import back_up
from storage.restore import missing_migrations, restore

REPORT_SECONDS = 5.0

Command = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int]]


def add_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Have `add` make the two commands."""
    made = add("backup", _backup, "Write everything to one file, beside a server that goes on.")
    made.add_argument(
        "path", type=Path, help="a new file, or a directory: the file is named for the time"
    )
    made = add("restore", _restore, "Make the database what a backup holds. Stop the server first.")
    made.add_argument("file", type=Path)
    made.add_argument(
        "--check", action="store_true", help="only read the backup, and say if it would do"
    )
    made.add_argument("--replace", action="store_true", help="lose what the database holds")
    made.add_argument(
        "--keep-sessions",
        action="store_true",
        help="leave devices signed in, those too that were signed out since the backup",
    )


async def _backup(settings: Settings, options: argparse.Namespace) -> int:
    path = _target(options.path)
    _expect_database(settings)
    with ArchiveWriter.creating(path) as writer:
        async with (
            address(settings, beside_server=True) as url,
            pooled(url, size=1) as pool,
            pool.acquire() as connection,
        ):
            manifest = await back_up(connection, writer, _Report("written"))
    size = path.stat().st_size
    print(f"wrote {path}: {_summary(manifest)}, {_size(size)}")
    if settings.blobs_url.startswith("file:") and any(
        table.name == "files" and table.rows for table in manifest.tables
    ):
        print(
            f"not in it: the bytes of files; copy {settings.blobs_url} as well, after this backup"
        )
    return 0


def _target(path: Path) -> Path:
    return path / f"memo-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.zip" if path.is_dir() else path


def _expect_database(settings: Settings) -> None:
    """A backup of the wrong directory would be of a database made for it just now."""
    if settings.database_url is None and not (settings.data_directory / "postgres").exists():
        raise BackupError(
            f"there is no database in DATA_DIR {settings.data_directory}; "
            "set DATA_DIR to what the server has"
        )


async def _restore(settings: Settings, options: argparse.Namespace) -> int:
    with Archive.reading(options.file) as archive:
        later = missing_migrations(archive)
        archive.check(_Report("checked"))
        summary = f"{options.file} of {archive.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"
        summary = f"{summary}: {_summary(archive.manifest)}"
        if options.check:
            print(f"can be restored: {summary}")
            for migration in later:
                print(f"its schema is older; restoring applies {migration.name}")
            return 0
        async with address(settings) as url, pooled(url, size=1) as pool:
            strange = await restore(
                pool,
                archive,
                _Report("restored"),
                replace=options.replace,
                keep_sessions=options.keep_sessions,
            )
    print(f"restored {summary}")
    for name in strange:
        print(f"not restored: the table {name}, which is not this server's")
    if not options.keep_sessions:
        print("everyone has to sign in again; what their devices kept comes back when they do")
    return 0


class _Report:
    """Says on standard error how far a long work has come, every few seconds."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._bytes = 0
        self._next = time.monotonic() + REPORT_SECONDS

    def __call__(self, table: str, size: int) -> None:
        self._bytes += size
        if time.monotonic() >= self._next:
            self._next += REPORT_SECONDS
            print(f"{_size(self._bytes)} {self._done}, at {table}", file=sys.stderr, flush=True)


def _summary(manifest: Manifest) -> str:
    return f"{len(manifest.tables)} tables, {manifest.rows} rows"


def _size(size: float) -> str:
    if size < 1000:
        return f"{size:.0f} bytes"
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
