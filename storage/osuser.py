"""The operating system's user that PostgreSQL runs as, when the server itself is run by root."""

import os
import pwd
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from storage.postgres import DatabaseUnavailable

log = structlog.get_logger(__name__)


class OsUser(NamedTuple):
    """A user and their group. Where we are not root, it is ourselves and little is left to do."""

    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "OsUser":
        """The user of that name, made as a system user when there is none. Needs root.

        Raises:
            DatabaseUnavailable: when that fails.
        """
        reason = "the password file stayed locked"
        for _ in range(50):
            try:
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
            except KeyError:
                pass
            try:
                made = subprocess.run(
                    ["useradd", "--system", "--no-create-home", "--user-group", name],  # noqa: S607
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=30,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                reason = str(error)
                break
            if made.returncode not in (0, 1, 9):  # 1: locked by another, 9: made meanwhile
                reason = made.stderr.strip()
                break
            time.sleep(0.1)
        raise DatabaseUnavailable(
            f"PostgreSQL does not run as root, and the user {name} could not be made for it "
            f"({reason}): run as another user, make that user, or set DATABASE_URL"
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """What `subprocess` needs to run a program as this user, with nothing inherited."""
        # The PG... variables of whoever starts the server must not reach its PostgreSQL.
        arguments: dict[str, Any] = {
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            "cwd": "/",
        }
        if os.geteuid() == 0:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def run(self, command: Sequence[str | Path], text: str = "") -> None:
        """Run one of PostgreSQL's programs to its end, with `text` as its input.

        Raises:
            DatabaseUnavailable: it failed, with its last line; or it took over two minutes.
        """
        program = Path(command[0]).name
        try:
            subprocess.run(
                command,
                input=text.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=120,
                **self.arguments,
            )
        except subprocess.CalledProcessError as error:
            lines = error.stdout.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit code {error.returncode}"
            raise DatabaseUnavailable(
                f"the database could not be prepared: {program}: {reason}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise DatabaseUnavailable(
                f"the database could not be prepared: {program} did not end within 120 s"
            ) from error

    def give(self, directory: Path) -> None:
        """Make this user the owner of `directory`."""
        if os.geteuid() == 0:
            os.chown(directory, self.uid, self.gid)

    def let_through(self, path: Path) -> None:
        """Let this user pass through `path` and the directories above it."""
        if os.geteuid() != 0:
            return
        for directory in (path, *path.parents):
            status = directory.stat()
            if status.st_uid != self.uid and not status.st_mode & 0o001:
                # To pass, not to list: the names inside stay private.
                directory.chmod(status.st_mode & 0o7777 | 0o001)
                log.warning(
                    "postgres.let_through",
                    directory=str(directory),
                    detail=f"made passable (chmod o+x) for the user {name_of(self.uid)}",
                )


def name_of(uid: int) -> str:
    """The name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
