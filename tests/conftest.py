"""What tests share: a PostgreSQL for each test process, and a fresh database for each test."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import certifi
import pytest
from argon2 import PasswordHasher

from server import passwords
from storage.embedded import EmbeddedPostgres
from storage.postgres import connect, migrate
from tests.redisserver import RedisServer
from tests.serving import ServerProcess

# A copy of the template by files is the quicker one as long as no checkpoint has to reach a disk.
IN_MEMORY_BYTES = 4 << 30  # much more than the databases of all test processes ever take
_END_OF_ONE = "-----END CERTIFICATE-----\n"
TEST_SETTINGS = {"fsync": "off", "max_connections": "100", "log_min_messages": "fatal"}


@pytest.fixture(scope="session", autouse=True)
def quick_to_be_safe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What costs a tenth of a second on purpose, or for each of the world's authorities, costs
    next to nothing in this process: hashes of passwords, and HTTP clients."""
    authorities = Path(certifi.where()).read_text()
    one = tmp_path_factory.mktemp("authorities") / "one.pem"
    one.write_text(authorities[: authorities.index(_END_OF_ONE) + len(_END_OF_ONE)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(one))
        patch.setattr(passwords, "PasswordHasher", partial(PasswordHasher, 1, 8))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL whose database `memo` is migrated and used by nobody."""
    with fresh_directory(in_memory()) as directory:
        server = EmbeddedPostgres(directory, settings=TEST_SETTINGS)
        server.start()
        try:
            asyncio.run(_migrate(server.url))
            yield server.url
        finally:
            server.stop()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A running Redis, for tests that leave it running."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[str]:
    """The address of a migrated database of the test's own."""
    async with fresh_database(postgres) as address:
        yield address


@asynccontextmanager
async def fresh_database(postgres: str) -> AsyncIterator[str]:
    """A migrated database, gone afterwards."""
    name = f"test_{uuid4().hex}"
    server = await asyncpg.connect(_address(postgres, "postgres"))
    try:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE memo STRATEGY file_copy")
        yield _address(postgres, name)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect(database)
    yield pool
    # Bounded: a test that leaks a connection fails here instead of hanging.
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
def live_server(database: str, data_directory: Path) -> Iterator[ServerProcess]:
    """A running server in a process of its own, on a fresh database."""
    server = ServerProcess(data_directory, database)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """An empty directory that can be a DATA_DIR."""
    with fresh_directory() as directory:
        yield directory


def in_memory() -> Path | None:
    """Where files lie in memory, if that is so here and there is plenty of it."""
    place = Path("/dev/shm")
    try:
        return place if shutil.disk_usage(place).free >= IN_MEMORY_BYTES else None
    except OSError:
        return None


@contextmanager
def fresh_directory(parent: Path | None = None) -> Iterator[Path]:
    # Not pytest's `tmp_path`: each run makes its parent private again, and where tests are run
    # by root, PostgreSQL, which is not, has to pass through.
    directory = Path(tempfile.mkdtemp(prefix="memo-test-", dir=parent))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _address(url: str, database: str) -> str:
    return url.replace("/memo?", f"/{database}?")


async def _migrate(url: str) -> None:
    pool = await connect(url)
    await migrate(pool)
    await pool.close()
