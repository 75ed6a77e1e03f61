"""The file of a backup: there whole or not at all, and what is damaged is not read."""

import hashlib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from storage.archive import FORMAT, Archive, ArchiveWriter, BackupError, Manifest, Table

CONTENT = {"users": b"PGCOPY" * 50, "documents": Random(1).randbytes(600), "empty": b""}


def write(path: Path, *, form: int = FORMAT) -> None:
    with ArchiveWriter.creating(path) as writer:
        tables = []
        for name, content in CONTENT.items():
            with writer.table(name) as table:
                table.write(content[:7])
                table.write(content[7:])
            tables.append(Table(name, ["id"], 1, table.size, table.sha256))
        writer.finish(
            Manifest(
                format=form,
                made_at=datetime(2026, 1, 2, tzinfo=UTC),
                snapshot="1:1:",
                postgres="18",
                migrations={"0001_core": "00"},
                tables=tables,
                sequences={},
            )
        )


def read(path: Path) -> dict[str, bytes]:
    with Archive.reading(path) as archive:
        archive.check(lambda *_: None)
        return {table.name: b"".join(archive.chunks(table)) for table in archive.manifest.tables}


def test_what_was_written_is_read_and_only_the_owner_may(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    write(path)
    assert read(path) == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_an_ordinary_zip(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    write(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*(f"tables/{name}.copy" for name in CONTENT), "manifest.json"]
        assert archive.read("tables/users.copy") == CONTENT["users"]


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with ArchiveWriter.creating(tmp_path / "backup.zip") as writer:
            with writer.table("users") as table:
                table.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_backup_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    path.write_bytes(b"precious")
    with pytest.raises(BackupError, match="is there already"):
        write(path)
    assert path.read_bytes() == b"precious"


def test_one_that_broke_off_is_refused_wherever_it_did(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(BackupError, match=r"is damaged, or no backup \(.+\); use another one$"):
            read(path)


def test_a_flipped_bit_is_refused_or_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    write(path)
    whole = path.read_bytes()
    random = Random(2)
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        try:
            assert read(path) == CONTENT
        except BackupError:
            refused += 1
    # Of a ZIP's own fields some say nothing, as times and attributes.
    assert refused > len(whole) * 0.8


def test_a_table_that_is_another_is_refused(tmp_path: Path) -> None:
    path, forged = tmp_path / "backup.zip", tmp_path / "forged.zip"
    write(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(forged, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            copy.writestr(name, content + b"!" if "users" in name else content)
    with pytest.raises(BackupError, match="the table users is not what was written"):
        read(forged)


def test_a_later_form_is_told_from_damage(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    write(path, form=FORMAT + 1)
    with pytest.raises(BackupError, match="made by a newer version"):
        read(path)


def test_what_is_not_there_or_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"cannot be read: No such file or directory$"):
        read(tmp_path / "nothing.zip")
    with pytest.raises(BackupError, match="cannot be written: No such file or directory"):
        write(tmp_path / "nowhere" / "backup.zip")


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    write(path)
    with Archive.reading(path) as archive:
        for table in archive.manifest.tables:
            assert table.size == len(CONTENT[table.name])
            assert table.sha256 == hashlib.sha256(CONTENT[table.name]).hexdigest()
