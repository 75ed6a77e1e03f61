"""Several workers behind one port, as an operator sees them: starts, ends and failures."""

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.tokens import generate_key
from server.websocket import CLOSE_SECONDS
from tests import launching
from tests.conftest import fresh_database, fresh_directory
from tests.redisserver import RedisServer
from tests.workers import WorkersProcess, until


@pytest.fixture
def server(data_directory: Path, redis: RedisServer, database: str) -> Iterator[WorkersProcess]:
    """A running one, for a test to end."""
    server = WorkersProcess(data_directory, redis, database)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(postgres: str, redis: RedisServer) -> AsyncIterator[WorkersProcess]:
    """A running one, for tests that leave it so."""
    async with fresh_database(postgres) as database:
        with fresh_directory() as directory:
            server = WorkersProcess(directory, redis, database)
            server.start()
            yield server
            server.kill()
            server.wait_until_nothing_is_left()


def complaint(code: int, **variables: str) -> str:
    """The one line of a server that gives up, beside what it logs."""
    env = {"PATH": os.environ["PATH"], "LOG_FORMAT": "json", "WORKERS": "2", **variables}
    result = launching.run(["serve"], env=env, timeout=90)
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    return line


def test_an_end_on_request_leaves_nothing_running(data_directory: Path, redis: RedisServer) -> None:
    server = WorkersProcess(data_directory, redis)  # with an embedded PostgreSQL
    server.start()
    names = {process.name() for process in server.processes}
    assert "postgres" in names
    assert len(server.workers) == 2
    assert server.banners == 1
    assert server.stop() == 0
    server.wait_until_nothing_is_left()
    assert not (data_directory / "postgres" / "postmaster.pid").exists()


def test_workers_do_not_outlive_a_killed_parent(server: WorkersProcess) -> None:
    server.kill()
    server.wait_until_nothing_is_left()


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: memo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_a_second_request_to_end_does_not_wait_for_clients(server: WorkersProcess) -> None:
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, timeout=10) as deaf:
        deaf.sendall(UPGRADE)
        assert deaf.recv(1 << 16).startswith(b"HTTP/1.1 101 ")
        # It does not answer the goodbye, which a worker would wait for.
        asked_at = time.monotonic()
        os.kill(server.pid, signal.SIGINT)
        until(lambda: not accepts(address), "the refusal")
        assert server.stop() == 0
    assert time.monotonic() - asked_at < CLOSE_SECONDS


def accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=10).close()
    except ConnectionError:  # refused, or let go with the socket it waited at
        return False
    return True


def test_a_worker_that_ends_is_replaced(shared: WorkersProcess) -> None:
    killed = shared.workers[1]
    killed.kill()
    # Connections that come meanwhile wait for the next one; none is refused.
    for _ in range(20):
        assert httpx.get(f"{shared.url}/ready", timeout=30).status_code == 200
    shared.wait_for("a worker is ready", 3)
    [event] = shared.events("a worker ended")
    assert (event["worker"], event["end"]) == (1, "it was ended by SIGKILL")
    assert shared.workers[1] != killed


def test_log_lines_tell_which_worker_wrote_them(shared: WorkersProcess) -> None:
    assert {event["worker"] for event in shared.events("redis.joined")} == {0, 1}


def test_a_restart_that_cannot_work_leaves_the_old_workers_alone(
    data_directory: Path, redis: RedisServer, database: str
) -> None:
    key = data_directory / "key.pem"
    key.write_text(good := generate_key().private_pem)
    server = WorkersProcess(data_directory, redis, database, JWT_PRIVATE_KEY=str(key))
    try:
        server.start()
        old = server.workers
        key.write_text("no key")
        os.kill(server.pid, signal.SIGHUP)
        server.wait_for(
            "the restart stopped here: a new worker could not be started, and the old ones go on"
        )
        assert server.workers == old
        # One that ends now does not come back, and the other serves whoever connects.
        old[0].kill()
        server.wait_for("a worker could not be started", 5)
        for _ in range(20):
            assert httpx.get(f"{server.url}/ready", timeout=5).status_code == 200
        assert server.samples("memo_workers_up") == {"": 1}
        assert server.samples("memo_workers") == {"": 2}
        # Once what kept it from starting is mended, it does come back, and takes its share.
        key.write_text(good)
        until(lambda: server.samples("memo_workers_up") == {"": 2}, "the second worker")
        for _ in range(40):
            httpx.get(f"{server.url}/ready", timeout=5)
        assert server.samples("http_requests_total", route="/ready")["0"] > 0
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_configuration_that_workers_refuse_is_one_line(
    data_directory: Path, redis: RedisServer, database: str
) -> None:
    line = complaint(
        2,
        PORT="0",
        DATA_DIR=str(data_directory),
        DATABASE_URL=database,
        REDIS_URL=redis.url,
        JWT_PRIVATE_KEY="/nowhere",
    )
    assert line.startswith("memo: JWT_PRIVATE_KEY is neither")


def test_workers_that_cannot_be_started_are_one_line(database: str, data_directory: Path) -> None:
    redis = RedisServer()
    redis.start()
    try:
        with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as connection:
            connection.sendall(b"CONFIG SET requirepass secret\r\n")
            assert connection.recv(16) == b"+OK\r\n"
        line = complaint(
            1, PORT="0", DATA_DIR=str(data_directory), DATABASE_URL=database, REDIS_URL=redis.url
        )
    finally:
        redis.stop()
    assert line.startswith("memo: workers could not be started, 5 times in a row: the Redis at ")
    assert line.endswith("correct the user and password in REDIS_URL")


def test_a_port_in_use_is_one_line_even_by_a_server_of_the_same_kind(
    shared: WorkersProcess, redis: RedisServer, database: str, data_directory: Path
) -> None:
    line = complaint(
        1,
        PORT=str(shared.port),
        DATA_DIR=str(data_directory),
        DATABASE_URL=database,
        REDIS_URL=redis.url,
    )
    assert line == (
        f"memo: PORT {shared.port} on 127.0.0.1 is in use; stop what runs there, "
        "or set another PORT"
    )
