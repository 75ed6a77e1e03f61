"""What every store of blobs has to hold to: a local directory, and a server that speaks S3."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from storage.blobs import Blob, Blobs, BlobStoreError
from tests.conftest import fresh_database
from tests.s3server import S3Server
from tests.serving import free_port


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield (tmp_path / "blobs").as_uri()
    else:
        with request.getfixturevalue("s3").bucket() as url:
            yield url


@pytest.fixture
def blobs(url: str) -> Blobs:
    return Blobs.at(url)


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def stored(blobs: Blobs, content: bytes, part_bytes: int) -> Blob:
    path = f"ab/{uuid4().hex}"
    parts = [
        await blobs.put_part(path, content[start : start + part_bytes])
        for start in range(0, len(content), part_bytes)
    ]
    return Blob(path, len(content), part_bytes, parts)


async def test_what_is_put_is_read(blobs: Blobs) -> None:
    for content in (b"", b"x", os.urandom(600_000)):
        await blobs.put("a/b/c", content)
        assert await collected(blobs.read_object("a/b/c")) == content


async def test_any_range_of_the_parts_is_read(blobs: Blobs) -> None:
    content = bytes(range(23))
    blob = await stored(blobs, content, part_bytes=5)
    assert len(set(blob.parts)) == 5
    assert await blobs.whole(blob) == content
    for start, end in [
        (0, 5),
        (0, 6),
        (4, 5),
        (5, 10),
        (3, 19),
        (22, 23),
        (7, 99),
        (9, 9),
        (20, 3),
    ]:
        assert await collected(blobs.read(blob, start, end)) == content[start:end]
    assert await collected(blobs.read(blob, 8)) == content[8:]


async def test_a_blob_goes_with_all_that_is_under_its_path_and_nothing_else(blobs: Blobs) -> None:
    blob, neighbour = await stored(blobs, b"abc", 2), await stored(blobs, b"de", 2)
    await blobs.put(f"{blob.path}/left", b"by a broken upload")
    assert await blobs.delete_all(blob.path) == 3
    assert await blobs.delete_all(blob.path) == 0
    with pytest.raises(MemoError) as lost:
        await blobs.whole(blob)
    assert lost.value.code is ErrorCode.GONE
    assert await blobs.whole(neighbour) == b"de"


async def test_removing_what_is_not_there_is_harmless(blobs: Blobs) -> None:
    await blobs.put("a/1", b"1")
    await blobs.put("a/2", b"2")
    await blobs.delete(["a/0", "a/1", "a/2", "a/3"])
    await blobs.delete(["a/1"])
    await blobs.delete([])
    with pytest.raises(MemoError):
        await collected(blobs.read_object("a/2"))


async def test_a_reader_may_leave_in_the_middle(blobs: Blobs) -> None:
    blob = await stored(blobs, os.urandom(1 << 20), 1 << 20)
    reading = blobs.read(blob)
    await anext(reading)
    await reading.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_database_and_its_store_know_each_other(
    blobs: Blobs, url: str, postgres: str, tmp_path: Path, pool: asyncpg.Pool
) -> None:
    await asyncio.gather(*(Blobs.at(url).claim(pool) for _ in range(5)))
    await blobs.claim(pool)
    other = Blobs.at((tmp_path / "another").as_uri())
    with pytest.raises(BlobStoreError, match="does not hold the files of this database") as refusal:
        await other.claim(pool)
    assert "\n" not in str(refusal.value)
    # As it says: who has lost the files goes on without.
    [name] = re.findall(r"\bwrite (\S+) into", str(refusal.value))
    await other.put("store", f"{name}\n".encode())
    await other.claim(pool)
    # A restored database takes the store that it finds.
    async with fresh_database(postgres) as address, asyncpg.create_pool(address, min_size=1) as new:
        await blobs.claim(new)
        with pytest.raises(BlobStoreError):
            await Blobs.at((tmp_path / "third").as_uri()).claim(new)


async def test_a_store_that_cannot_be_used_is_told_in_one_line(
    pool: asyncpg.Pool, tmp_path: Path, s3: S3Server
) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(BlobStoreError, match=r"^BLOB_URL file://.* cannot be used: [^\n]+$"):
        await Blobs.at((tmp_path / "file" / "blobs").as_uri()).claim(pool)
    with s3.bucket() as url, pytest.raises(BlobStoreError, match=r"cannot be used: [^\n]+$"):
        await Blobs.at(url.replace("test-", "none-")).claim(pool)
    with s3.bucket(), pytest.MonkeyPatch.context() as environ:
        environ.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{free_port()}")
        away = Blobs.at("s3://bucket")
        with pytest.raises(MemoError) as unavailable:
            await away.put("a", b"")
        assert unavailable.value.code is ErrorCode.UNAVAILABLE
