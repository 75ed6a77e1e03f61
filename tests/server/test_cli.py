"""The command `memo`, run as an operator runs it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import pytest

from server.cli import called
from tests import launching

EMAIL = "ann@example.com"
NAMES = ("--first-name", "Ann", "--last-name", "Lee")
PASSWORD = "Correct-horse-1!"


def environment(**variables: object) -> Mapping[str, str]:
    """What a command sees: nothing of the configuration of whoever runs the tests."""
    return {"PATH": os.environ["PATH"], **{name: str(value) for name, value in variables.items()}}


def memo(*arguments: str, text: str = "", **variables: object) -> subprocess.CompletedProcess[str]:
    return launching.run(arguments, text=text, env=environment(**variables))


class Served(NamedTuple):
    """A running `memo serve`: what it said when it was ready, and the address in that."""

    process: launching.Launched
    banner: str
    url: str


@contextmanager
def serving(**variables: object) -> Iterator[Served]:
    env = environment(PORT=0, LOG_LEVEL="warning", **variables)
    with launching.start(env=env) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            banner = ""
            while "Stop" not in banner:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                banner += line
            assert process.stdout.readline() == "\n"
            url = re.search(r"Open +(http://\S+)", banner)
            assert url is not None
            yield Served(process, banner, url[1])
        finally:
            if process.poll() is None:
                process.kill()


def complaint(result: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line of a command that could not do what it was asked."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("memo: ")
    return line.removeprefix("memo: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_is_and_stops_on_request(
    data_directory: Path, number: signal.Signals
) -> None:
    with serving(DATA_DIR=data_directory) as (process, banner, url):
        assert f"Data   {data_directory} (with an embedded PostgreSQL)" in banner
        assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
        process.send_signal(number)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    assert not (data_directory / "postgres" / "postmaster.pid").exists()


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = complaint(memo("serve", PORT=port), 1)
    assert line == (
        f"PORT {port} on 127.0.0.1 is in use; stop what runs there, or set another PORT"
    )


def test_a_data_directory_in_use_is_one_line(data_directory: Path) -> None:
    with serving(DATA_DIR=data_directory) as (process, _, _):
        line = complaint(memo("serve", PORT=0, DATA_DIR=data_directory), 1)
        assert line == (
            f"DATA_DIR {data_directory} is in use by process {process.pid}; "
            "stop it or set another DATA_DIR"
        )


def test_a_database_that_is_not_there_is_one_line(database: str) -> None:
    line = complaint(memo("serve", DATABASE_URL=database.replace("/test_", "/no_"), PORT=0), 1)
    assert line.startswith("the database at ")
    assert line.endswith(" does not exist")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"PORT": "http"}, "PORT is 'http'; it has to be a number from 0 to 65535"),
        ({"HOST": "no.such.host.invalid"}, "HOST is 'no.such.host.invalid', which is no"),
        ({"JWT_PRIVATE_KEY": "/nowhere"}, "JWT_PRIVATE_KEY is neither"),
    ],
)
def test_a_bad_environment_is_one_line(
    database: str, variables: Mapping[str, object], line: str
) -> None:
    variables = {"PORT": 0, "DATABASE_URL": database, **variables}
    assert line in complaint(memo("serve", text="", **variables), 2)


def test_what_is_no_command_shows_what_is() -> None:
    result = memo("nonsense")
    assert result.returncode == 2
    assert "invalid choice: 'nonsense'" in result.stderr
    for name in ("serve", "migrate", "doctor", "demo", "user"):
        assert name in result.stderr
    assert "worker" not in result.stderr


def test_what_is_said_to_call_can_be_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "memo"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert called(str(program)) == str(program)
    assert called(f"{tmp_path}/server/__main__.py") == f"{sys.executable} -m server"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert called(str(program)) == "memo"
    other = tmp_path / "elsewhere" / "memo"
    assert called(str(other)) == str(other)


async def test_migrate_says_what_it_applied(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    assert memo("migrate", DATABASE_URL=database).stdout.startswith("applied 0001_core\n")
    assert memo("migrate", DATABASE_URL=database).stdout == "the schema is up to date\n"


def test_an_account_can_be_made_listed_closed_and_opened(database: str) -> None:
    def user(*arguments: str, text: str = "") -> str:
        result = memo("user", *arguments, text=text, DATABASE_URL=database)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "there are no accounts" in user("list")
    assert f"made the account {EMAIL}" in user("create", EMAIL, *NAMES, text=PASSWORD + "\n")
    [line] = user("list").splitlines()
    assert EMAIL in line
    assert "disabled" not in line
    assert f"disabled {EMAIL}" in user("disable", EMAIL)
    assert "disabled" in user("list")
    assert user("enable", EMAIL) == f"enabled {EMAIL}\n"
    assert "disabled" not in user("list")
    assert "is now: premium" in user("role", EMAIL, "premium")
    assert "premium" in user("list")
    again = memo("user", "create", EMAIL, *NAMES, text=PASSWORD, DATABASE_URL=database)
    assert "email: there is an account with this address" in complaint(again, 1)


@pytest.mark.parametrize(
    ("arguments", "text", "line"),
    [
        (("create", EMAIL, *NAMES), "weak\n", "password needs 8 characters"),
        (("create", "ann", *NAMES), PASSWORD, "email is not an e-mail address"),
        (("create", EMAIL, *NAMES), "", "password needs 8 characters"),
        (("disable", EMAIL), "", "There is no account with this e-mail address."),
        (("role", EMAIL, "admin"), "", "There is no account with this e-mail address."),
    ],
)
def test_what_is_wrong_with_an_account_is_one_line(
    database: str, arguments: tuple[str, ...], text: str, line: str
) -> None:
    assert line in complaint(memo("user", *arguments, text=text, DATABASE_URL=database), 1)


def test_a_random_password_opens_the_account_it_was_made_for(database: str) -> None:
    created = memo("user", "create", EMAIL, *NAMES, "--random-password", DATABASE_URL=database)
    password = re.search(r"its password is (\S+)", created.stdout)
    assert password is not None
    with serving(DATABASE_URL=database) as (_, _, url):
        assert sign_in(url, EMAIL, password[1]).status_code == 200


def test_commands_work_beside_a_server_on_the_same_directory(data_directory: Path) -> None:
    with serving(DATA_DIR=data_directory) as (_, _, url):
        made = memo("user", "create", EMAIL, *NAMES, text=PASSWORD, DATA_DIR=data_directory)
        assert made.returncode == 0, made.stderr
        assert sign_in(url, EMAIL, PASSWORD).status_code == 200
        port = url.rpartition(":")[2]
        report = memo("doctor", DATA_DIR=data_directory, PORT=port).stdout
        assert f"PORT {port}: this server is running there" in report
        assert "its schema is up to date" in report
        assert "signing keys: 1 in the database" in report


def test_doctor_of_a_new_place_finds_it_well_and_makes_no_database(data_directory: Path) -> None:
    report = memo("doctor", DATA_DIR=data_directory, PORT=0).stdout
    assert "database: an embedded PostgreSQL is made at the first start" in report
    assert f"DATA_DIR {data_directory}: writable" in report
    assert list(data_directory.iterdir()) == []


def test_doctor_says_what_to_do_about_each_problem(data_directory: Path) -> None:
    (data_directory / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = memo(
            "doctor",
            DATA_DIR=data_directory / "file" / "data",
            PORT=taken.getsockname()[1],
            DATABASE_URL="postgresql://me:hunter2@127.0.0.1:1/memo",
            REDIS_URL="redis://me:hunter2@127.0.0.1:1",
            JWT_PRIVATE_KEY="/nowhere",
        )
    assert result.returncode == 1
    problems = [line for line in result.stdout.splitlines() if line.startswith("PROBLEM")]
    for subject, problem in zip(
        ("DATA_DIR", "PORT", "database", "Redis", "signing key"), problems, strict=False
    ):
        assert problem.startswith(f"PROBLEM  {subject}")
    assert "make it writable" in problems[0]
    assert "stop what runs there" in problems[1]
    assert "cannot be reached" in problems[2]
    assert "correct REDIS_URL" in problems[3]
    assert "JWT_PRIVATE_KEY" in problems[4]
    assert "hunter2" not in result.stdout


async def test_the_demo_is_made_once_with_or_without_a_server(
    database: str, pool: asyncpg.Pool
) -> None:
    async def memories() -> int:
        count: int = await pool.fetchval("SELECT count(*) FROM memories WHERE title <> ''")
        return count

    first = memo("demo", DATABASE_URL=database, PORT=1)  # where nothing listens
    assert first.returncode == 0, first.stderr
    assert "25 memories" in first.stdout
    assert f"{sys.executable} -m server serve" in first.stdout
    assert await memories() == 25
    with serving(DATABASE_URL=database) as (_, _, url):
        port = url.rpartition(":")[2]
        again = memo("demo", DATABASE_URL=database, PORT=port)
        assert again.returncode == 0, again.stderr
        assert " serve" not in again.stdout
        assert await memories() == 25
        assert await pool.fetchval("SELECT count(*) FROM messages") == 6
        assert (
            await pool.fetchval("SELECT count(*) FROM memberships WHERE category_id IS NULL") < 10
        )
        password = re.search(r"Password +(\S+)", again.stdout)
        assert password is not None
        assert sign_in(url, "demo@example.com", password[1]).status_code == 200


def sign_in(url: str, email: str, password: str) -> httpx.Response:
    return httpx.post(f"{url}/api/auth/login", json={"email": email, "password": password})


def test_keys_are_rotated_and_a_leaked_one_is_not_believed(database: str) -> None:
    first = memo("rotate-keys", DATABASE_URL=database)
    assert first.returncode == 0, first.stderr
    assert "older keys (1)" in first.stdout
    leaked = memo("rotate-keys", "--leaked", DATABASE_URL=database)
    assert "no other key" in leaked.stdout
    given = complaint(memo("rotate-keys", DATABASE_URL=database, JWT_PRIVATE_KEY="x"), 1)
    assert "JWT_PRIVATE_KEY" in given
