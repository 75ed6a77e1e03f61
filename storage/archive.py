"""The file of a backup.

A ZIP: `tables/NAME.copy` is the content of a table as PostgreSQL's binary COPY writes it, in the
order in which they can be loaded; `manifest.json`, written last, says what they are and has a
SHA-256 of each. A file that broke off has no manifest. What is read and written is never held
whole in memory.
"""

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

FORMAT = 1
_CHUNK = 1 << 18  # bytes
_MANIFEST = "manifest.json"
# Edits are short and alike, so the quickest level already takes most of what there is to take.
_LEVEL = 1
# What a damaged ZIP makes of its reader.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    msgspec.MsgspecError,
)

Progress = Callable[[str, int], None]
"""Told the name of a table and how many bytes of it were just read or written."""


class BackupError(Exception):
    """A backup cannot be made, read or restored; the message is one line that says why."""


class Table(msgspec.Struct, frozen=True):
    """One table of a backup; `size` (bytes) and `sha256` are those of its COPY."""

    name: str
    columns: Sequence[str]
    rows: int
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds.

    `made_at` and `snapshot` (PostgreSQL's) are the moment that all of it is of. `migrations` are
    those of its schema, names to checksums; `sequences` are the last values used.
    """

    format: int
    made_at: datetime
    snapshot: str
    postgres: str
    migrations: Mapping[str, str]
    tables: Sequence[Table]
    sequences: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


class TableWriter:
    """Takes the COPY of one table."""

    def __init__(self, archive: "ArchiveWriter", member: zipfile.ZipInfo) -> None:
        self.size = 0
        self._archive = archive
        self._digest = hashlib.sha256()
        self._file = archive.zip.open(member, "w", force_zip64=True)

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises:
        BackupError: the disk is full or failing.
        """
        with self._archive.writing():
            self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Raises:
        BackupError: the disk is full or failing.
        """
        with self._archive.writing():
            self._file.close()


class ArchiveWriter:
    """Writes an archive; made by `creating`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.zip = archive
        self._path = path

    @classmethod
    @contextmanager
    def creating(cls, path: Path) -> Iterator["ArchiveWriter"]:
        """A new archive, at `path` only when it is whole and on the disk. Until then it has a
        name of its own beside it; when it fails, nothing is left. Only its owner may read it.

        Raises:
            BackupError: there is a file at `path`, or it cannot be written.
        """
        if path.exists():
            raise BackupError(f"{path} is there already; name another file, or move that one away")
        try:
            number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise BackupError(f"{path} cannot be written: {error.strerror or error}") from error
        part = Path(name)
        with _writing(path):
            try:
                with open(number, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
                    with zipfile.ZipFile(
                        file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL
                    ) as archive:
                        yield cls(path, archive)
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(path)
                _sync_directory(path.parent)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    @contextmanager
    def table(self, name: str) -> Iterator[TableWriter]:
        """A table, one at a time."""
        member = zipfile.ZipInfo(_member(name))
        member.compress_type = zipfile.ZIP_DEFLATED
        writer = TableWriter(self, member)
        try:
            yield writer
        finally:
            writer.close()

    def finish(self, manifest: Manifest) -> None:
        """Raises:
        BackupError: the disk is full or failing.
        """
        with self.writing():
            self.zip.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What fails within is the file's failure."""
        with _writing(self._path):
            yield


class Archive:
    """An archive to read; made by `reading`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._zip = archive

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator["Archive"]:
        """The archive at `path`. What its tables hold is checked as they are read.

        Raises:
            BackupError: it cannot be read, is not whole, or of a newer version's form.
        """
        try:
            file = path.open("rb")
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}") from None
        with file:
            with _undamaged(path):
                archive = zipfile.ZipFile(file)
            with archive:
                with _undamaged(path):
                    head = archive.read(_MANIFEST)
                    if msgspec.json.decode(head, type=_Versioned).format > FORMAT:
                        raise BackupError(
                            f"{path} was made by a newer version, in a form that this one does "
                            "not know: restore it with that version"
                        )
                    manifest = msgspec.json.decode(head, type=Manifest)
                yield cls(path, archive, manifest)

    def check(self, progress: Progress) -> None:
        """Read everything.

        Raises:
            BackupError: something is damaged or missing.
        """
        for table in self.manifest.tables:
            for chunk in self.chunks(table):
                progress(table.name, len(chunk))

    def chunks(self, table: Table) -> Iterator[bytes]:
        """The COPY of a table, piece by piece.

        Raises:
            BackupError: it is not what was written; perhaps only after its last piece.
        """
        digest = hashlib.sha256()
        with _undamaged(self.path), self._zip.open(_member(table.name)) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != table.sha256:
            raise _damaged(self.path, f"the table {table.name} is not what was written")


class _Versioned(msgspec.Struct):
    format: int


def _member(table: str) -> str:
    return f"tables/{table}.copy"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{path} cannot be written: {error.strerror or error}; nothing is left of it"
        ) from error


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise _damaged(path, " ".join(str(error).split()) or type(error).__name__) from error


def _damaged(path: Path, reason: str) -> BackupError:
    return BackupError(f"{path} is damaged, or no backup ({reason}); use another one")


def _sync_directory(directory: Path) -> None:
    """Make the new name last as well."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
