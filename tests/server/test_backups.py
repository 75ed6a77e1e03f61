"""`memo backup` and `memo restore`, run as an operator runs them."""

import asyncio
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import asyncpg
import pytest

from server import backups, cli
from tests import launching
from tests.conftest import fresh_database
from tests.rows import add_memory, add_person
from tests.server.test_cli import EMAIL, NAMES, PASSWORD, complaint, environment, memo, serving


def done(*arguments: object, text: str = "", **variables: object) -> str:
    """What a command that succeeded has said."""
    result = memo(*map(str, arguments), text=text, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refusal(*arguments: object, **variables: object) -> str:
    return complaint(memo(*map(str, arguments), text="", **variables), 1)


@pytest.fixture
def backup(database: str, tmp_path: Path) -> Path:
    """A backup of `database`, which has one account."""
    done("user", "create", EMAIL, *NAMES, text=PASSWORD, DATABASE_URL=database)
    path = tmp_path / "backup.zip"
    done("backup", path, DATABASE_URL=database)
    return path


def test_an_embedded_database_moves_to_another_directory(
    data_directory: Path, tmp_path: Path
) -> None:
    first, second, path = data_directory / "a", data_directory / "b", tmp_path / "backup.zip"
    with serving(DATA_DIR=first) as (process, _, _):
        done("user", "create", EMAIL, *NAMES, text=PASSWORD, DATA_DIR=first)
        said = done("backup", path, DATA_DIR=first)
        assert re.fullmatch(rf"wrote {path}: \d+ tables, \d+ rows, [\d.]+ kB\n", said)
        assert refusal("restore", path, "--replace", DATA_DIR=first) == (
            f"DATA_DIR {first} is in use by process {process.pid}; stop it or set another DATA_DIR"
        )
    said = done("restore", path, DATA_DIR=second)
    assert re.match(rf"restored {path} of 20\d\d-\d\d-\d\d .+ UTC: \d+ tables, \d+ rows\n", said)
    assert "everyone has to sign in again" in said
    assert EMAIL in done("user", "list", DATA_DIR=second)
    # And without a server as well.
    [made] = re.findall(r"wrote (.+\.zip)", done("backup", tmp_path, DATA_DIR=second))
    assert re.fullmatch(r"memo-20\d\d-\d\d-\d\dT\d{6}Z\.zip", Path(made).name)
    assert "can be restored" in done("restore", made, "--check")


def test_a_backup_of_the_wrong_directory_is_refused(data_directory: Path) -> None:
    line = refusal("backup", data_directory / "b.zip", DATA_DIR=data_directory)
    assert line == (
        f"there is no database in DATA_DIR {data_directory}; set DATA_DIR to what the server has"
    )
    assert list(data_directory.iterdir()) == []


def test_nothing_is_restored_under_a_running_server(database: str, backup: Path) -> None:
    with serving(DATABASE_URL=database):
        line = refusal("restore", backup, "--replace", DATABASE_URL=database)
    assert re.fullmatch(
        r"the database is in use by \d+ other sessions; "
        "stop the server and whatever else is connected",
        line,
    )


def test_what_a_database_holds_is_lost_only_on_request(database: str, backup: Path) -> None:
    done("user", "create", "bob@example.com", *NAMES, text=PASSWORD, DATABASE_URL=database)
    assert refusal("restore", backup, DATABASE_URL=database) == (
        "the database is not empty, it has 2 accounts; restore into an empty one, "
        "or lose what it holds with --replace"
    )
    assert "bob@example.com" in done("user", "list", DATABASE_URL=database)
    said = done("restore", backup, "--replace", "--keep-sessions", DATABASE_URL=database)
    assert "sign in again" not in said
    [line] = done("user", "list", DATABASE_URL=database).splitlines()
    assert EMAIL in line


def test_a_damaged_backup_changes_nothing(database: str, backup: Path) -> None:
    content = bytearray(backup.read_bytes())
    with ZipFile(backup) as archive:  # a byte that says something: not all of a header does
        longest = max(archive.infolist(), key=lambda entry: entry.compress_size)
    content[longest.header_offset + 30 + len(longest.filename) + longest.compress_size // 2] ^= 0x10
    backup.write_bytes(content)
    # No database is looked for before the backup is found sound.
    for options in (["--check"], []):
        line = refusal("restore", backup, *options, DATABASE_URL="postgresql://127.0.0.1:1/no")
        assert line.startswith(f"{backup} is damaged, or no backup (")
    backup.write_bytes(content[: len(content) // 2])
    line = refusal("restore", backup, "--replace", DATABASE_URL=database)
    assert line == f"{backup} is damaged, or no backup (File is not a zip file); use another one"
    assert EMAIL in done("user", "list", DATABASE_URL=database)


async def test_a_backup_of_a_newer_version_is_one_line(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await pool.execute("INSERT INTO schema_migrations VALUES ('9000_later', '00')")
    path = tmp_path / "backup.zip"
    done("backup", path, DATABASE_URL=database)
    for options in (["--check"], ["--replace"]):
        assert refusal("restore", path, *options, DATABASE_URL=database) == (
            f"{path} does not fit this version: the database has the migration 9000_later, which "
            "this version does not know: run the version that made it, or a newer one"
        )


def test_a_full_disk_is_one_line_and_leaves_nothing(
    database: str, backup: Path, tmp_path: Path
) -> None:
    # A limit on the size of files breaks a write off as a full disk does; it would do so to those
    # of compiled modules, which are not made.
    result = subprocess.run(
        ["bash", "-c", 'ulimit -f 1; exec "$0" -B -m server backup "$1"', sys.executable,
         tmp_path / "another.zip"],
        capture_output=True,
        text=True,
        env=environment(DATABASE_URL=database),
        timeout=60,
        check=False,
    )  # fmt: skip
    assert complaint(result, 1) == (
        f"{tmp_path / 'another.zip'} cannot be written: File too large; nothing is left of it"
    )
    assert list(tmp_path.iterdir()) == [backup]


def test_a_directory_that_is_not_there_is_one_line(database: str, tmp_path: Path) -> None:
    path = tmp_path / "no" / "backup.zip"
    line = refusal("backup", path, DATABASE_URL=database)
    assert line == f"{path} cannot be written: No such file or directory"


def test_a_database_that_is_not_there_leaves_no_file(database: str, tmp_path: Path) -> None:
    url = database.replace("/test_", "/no_")
    line = refusal("backup", tmp_path / "backup.zip", DATABASE_URL=url)
    assert line.endswith("does not exist")
    assert list(tmp_path.iterdir()) == []


async def test_a_long_work_says_how_far_it_has_come(
    postgres: str,
    database: str,
    pool: asyncpg.Pool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory_id = await add_memory(pool, await add_person(pool))
    await pool.execute(
        "INSERT INTO document_updates SELECT $1, n, NULL, NULL, $2 FROM generate_series(1, 9) n",
        memory_id,
        bytes(300_000),
    )
    await pool.execute("UPDATE documents SET head = 9")
    path = str(tmp_path / "backup.zip")
    async with fresh_database(postgres) as other:
        for command, url, verb in (
            ("backup", database, "written"),
            ("restore", other, "restored"),
        ):
            with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
                patch.setenv("DATABASE_URL", url)
                patch.setattr(backups, "REPORT_SECONDS", 0.0)
                assert thread.submit(cli.main, [command, path]).result() == 0
            lines = capsys.readouterr().err.splitlines()
            assert f"2.7 MB {verb}, at document_updates" in lines


async def test_ctrl_c_leaves_no_file(database: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE users")
        env = environment(DATABASE_URL=database)
        with launching.start(["backup", tmp_path / "backup.zip"], env=env) as process:
            # A request to cancel what PostgreSQL does not do yet is lost.
            async with asyncio.timeout(30):
                while not await pool.fetchval(  # noqa: ASYNC110 (it is another's event)
                    "SELECT count(*) FROM pg_locks JOIN pg_database ON database = oid"
                    " WHERE datname = current_database() AND NOT granted"
                ):
                    await asyncio.sleep(0.01)
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
