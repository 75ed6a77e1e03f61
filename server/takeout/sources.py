"""Where an import reads from: a ZIP archive or a directory. Nothing in either can be trusted."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

DIRECTORY_BYTES = 16 << 20  # of what a ZIP archive has in it: about 100,000 entries
TOTAL_BYTES = 20 << 30  # of all that is unpacked
# What is kept in the database of a ZIP archive, unpacked: documents, notes, what is known of them.
# Texts of people pack to a fifth; those that pack to less than this were made to fill a disk.
TEXT_BYTES = 16 << 20
TEXT_RATIO = 20  # and this many times the bytes of the archive
CHUNK_BYTES = 256 << 10

_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(ValueError):
    """The whole of it cannot be read; the message says why."""


class EntryError(ValueError):
    """One entry cannot be used; the message says why."""


class Digest(NamedTuple):
    """What an entry should be."""

    size: int
    sha256: str


class Digests(Protocol):
    """What entries should be, by their path."""

    def get(self, path: str) -> Digest | None: ...


class Source(Protocol):
    """Entries by their path, with slashes. Its calls block. `text_bytes` may be read of it as a
    whole, entry by entry."""

    text_bytes: int

    def names(self) -> list[str]: ...

    def size(self, name: str) -> int:
        """What the entry says to have, in bytes."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The entry's bytes.

        Raises:
            EntryError: it is not there, or cannot be read.
        """


class _Bounded(io.FileIO):
    """A file of which nobody reads more at once than an archive's list of entries may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_BYTES:
            raise ArchiveError("it has too many entries")
        return super().read(DIRECTORY_BYTES if size is None or size < 0 else size) or b""


class ZipSource:
    """A ZIP archive. Close it in the end."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = _Bounded(path)
        except OSError as error:
            raise ArchiveError(f"it cannot be read: {error.strerror}") from error
        try:
            self._zip = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            self._file.close()
            raise ArchiveError(f"it is no ZIP archive that can be read: {error}") from error
        self.text_bytes = TEXT_BYTES + TEXT_RATIO * path.stat().st_size

    def names(self) -> list[str]:
        return [info.filename for info in self._zip.infolist() if not info.is_dir()]

    def size(self, name: str) -> int:
        try:
            return self._zip.getinfo(name).file_size
        except KeyError:
            raise EntryError("is not in the archive") from None

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            info = self._zip.getinfo(name)
            if info.flag_bits & 0x1:
                raise EntryError("is encrypted")
            if info.compress_type not in _READABLE:
                raise EntryError("is compressed in a way that is not read here")
            with self._zip.open(info) as entry:
                while chunk := entry.read(CHUNK_BYTES):
                    yield chunk
        except KeyError:
            raise EntryError("is not in the archive") from None
        except ArchiveError as error:
            raise EntryError(str(error)) from error
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            OverflowError,
        ) as error:
            raise EntryError(f"cannot be unpacked: {error}") from error

    def close(self) -> None:
        self._zip.close()
        self._file.close()


class DirectorySource:
    """The files in a directory, at any depth; links are not followed."""

    text_bytes = TOTAL_BYTES  # whoever has it on a disk is no stranger

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        found = (path for path in self._root.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def size(self, name: str) -> int:
        try:
            return (self._root / name).stat().st_size
        except OSError as error:
            raise EntryError(f"cannot be read: {error.strerror}") from error

    def chunks(self, name: str) -> Iterator[bytes]:
        path = self._root / name
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise EntryError("is outside of the directory")
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise EntryError(f"cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """There is nothing to close."""


class Reader:
    """Reads entries of a source, within bounds, as the archive's manifest says they are."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.expected: Digests | None = None
        self._left = TOTAL_BYTES
        self._text_left = source.text_bytes

    def whole(self, name: str, limit: int) -> bytes:
        """An entry of at most so many bytes.

        Raises:
            EntryError: with the reason.
            ArchiveError: all texts together are more than may be brought in at once.
        """
        if self.source.size(name) > limit:
            raise EntryError(f"has more than {limit} bytes")
        data = bytearray()
        for chunk in self.chunks(name):
            data += chunk
            self._text_left -= len(chunk)
            if self._text_left < 0:
                raise ArchiveError(
                    f"it unpacks to more than {self.source.text_bytes} bytes of text, too many for"
                    " its size: import it in parts"
                )
            if len(data) > limit:
                raise EntryError(f"has more than {limit} bytes")
        self._check(name, len(data), hashlib.sha256(data).hexdigest())
        return bytes(data)

    def chunks(self, name: str) -> Iterator[bytes]:
        """An entry's bytes, unchecked.

        Raises:
            EntryError: with the reason.
        """
        for chunk in self.source.chunks(name):
            self._left -= len(chunk)
            if self._left < 0:
                raise EntryError(f"is past the {TOTAL_BYTES} bytes that are unpacked at most")
            yield chunk

    def check(self, name: str, limit: int) -> int:
        """Read an entry through, to see that it is what it should be. Returns its bytes.

        Raises:
            EntryError: with the reason.
        """
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks(name):
            digest.update(chunk)
            size += len(chunk)
            if size > limit:
                raise EntryError(f"has more than {limit} bytes")
        self._check(name, size, digest.hexdigest())
        return size

    def _check(self, name: str, size: int, sha256: str) -> None:
        if self.expected is None:
            return
        expected = self.expected.get(name)
        if expected is None:
            raise EntryError("is not in the archive's manifest")
        if expected != Digest(size, sha256):
            raise EntryError("is not what the archive's manifest says")
