"""Files over real sockets: in by a form, out by ranges and links, known to the feed."""

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from PIL import Image

from protocol import frames
from tests.conftest import fresh_directory
from tests.e2e.person import Person
from tests.e2e.rawsocket import PATIENCE
from tests.serving import LocalServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_FILE_BYTES = 10_000_000
QUOTA = 25_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(shared_database: str) -> AsyncIterator[LocalServer]:
    with fresh_directory() as directory:
        server = LocalServer(
            directory,
            shared_database,
            MAX_FILE_BYTES=str(MAX_FILE_BYTES),
            FILE_QUOTA=str(QUOTA),
            CORS_ORIGINS="https://app.example.com",
        )
        await server.start()
        yield server
        await server.stop()


def photo(size: tuple[int, int] = (900, 600), **options: Any) -> bytes:
    """A JPEG that says where it was taken, lying on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Secret camera"
    exif.get_ifd(0x8825).update({1: "N", 2: (38.0, 42.0, 0.0)})
    output = io.BytesIO()
    Image.new("RGB", size, "teal").save(output, "JPEG", exif=exif, **options)
    return output.getvalue()


async def processed(person: Person, file_id: str) -> Any:
    """The file once it has been looked at."""
    async with asyncio.timeout(PATIENCE):
        while not (file := (await person.call("files.get", id=file_id))["file"])["isProcessed"]:
            await person.socket.take(frames.Event)
    return file


# In


async def test_a_file_comes_back_as_it_went_in(ada: Person) -> None:
    for content in (b"hello", b"", os.urandom(9_000_000)):
        file = await ada.upload(content, "../dir/naïve\u202e.txt")
        assert file["filename"] == "naïve.txt"
        assert file["originalFilename"] == "../dir/naïve\u202e.txt"
        assert file["fileSize"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["isProcessed"] is True
        reply = await ada.http.get(f"/api/files/{file['id']}")
        assert reply.status_code == 200
        assert reply.content == content
        assert (await ada.call("files.get", id=file["id"]))["file"] == file


async def test_a_file_is_what_its_bytes_are(ada: Person) -> None:
    for name, content, file_type in (
        ("photo.jpg", b"<html><script>alert(1)</script>", "text/html"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png"),
        ("a.png", b"just words", "text/plain"),
        ("a", b"%PDF-1.7\n", "application/pdf"),
        ("a.svg", b"<?xml version='1.0'?><svg onload='x'/>", "image/svg+xml"),
        ("a.mp3", bytes(range(256)), "application/octet-stream"),
    ):
        assert (await ada.upload(content, name))["fileType"] == file_type


async def test_a_repeated_upload_answers_the_first_one_s_file(ada: Person, bob: Person) -> None:
    file_id = str(uuid4())
    file = await ada.upload(b"once", id=file_id)
    assert file["id"] == file_id
    assert await ada.upload(b"once", id=file_id) == file
    assert await ada.upload(b"other bytes of a retry", id=file_id) == file
    error = await bob.upload(b"once", id=file_id, expected=409)
    assert error["code"] == "conflict"
    assert (await ada.call("files.usage"))["count"] == 1
    # A browser's form may have its fields behind the file.
    boundary, late = "xyz", str(uuid4())
    for _ in range(2):
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nlate'
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="id"\r\n\r\n{late}'
            f"\r\n--{boundary}--\r\n"
        )
        reply = await ada.http.post(
            "/api/files",
            content=body.encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        assert reply.json()["file"]["id"] == late


async def test_two_uploads_of_one_id_at_once_make_one_file(ada: Person) -> None:
    file_id = str(uuid4())
    content = os.urandom(100_000)
    replies = await asyncio.gather(
        *(
            ada.http.post("/api/files", data={"id": file_id}, files={"file": ("a", content)})
            for _ in range(4)
        )
    )
    codes = {reply.status_code for reply in replies}
    assert 201 in codes
    assert codes <= {201, 503}  # who came meanwhile tries again
    assert (await ada.upload(content, id=file_id))["id"] == file_id
    assert await ada.call("files.usage") == {"bytes": 100_000, "quota": QUOTA, "count": 1}


async def test_the_same_bytes_are_kept_once_for_an_account_and_apart_for_two(
    ada: Person, bob: Person, records: asyncpg.Connection
) -> None:
    content = os.urandom(50_000)
    first, second = await ada.upload(content, "one"), await ada.upload(content, "two")
    assert first["id"] != second["id"]
    assert await ada.call("files.usage") == {"bytes": 50_000, "quota": QUOTA, "count": 2}
    his = await bob.upload(content)
    paths = await records.fetch(
        "SELECT storage_path FROM files WHERE sha256 = $1", bytes.fromhex(his["sha256"])
    )
    assert len(paths) == 3
    assert len(set(paths)) == 2
    await ada.call("files.delete", id=first["id"])
    assert (await ada.http.get(f"/api/files/{second['id']}")).content == content
    assert (await ada.call("files.usage"))["bytes"] == 50_000
    await ada.call("files.delete", id=second["id"])
    assert await ada.call("files.usage") == {"bytes": 0, "quota": QUOTA, "count": 0}


async def test_what_is_too_large_or_too_much_is_refused_by_code(ada: Person) -> None:
    error = await ada.upload(bytes(MAX_FILE_BYTES + 1), expected=413)
    assert error["code"] == "too_large"
    assert str(MAX_FILE_BYTES) in error["message"]

    # Also of one that does not say how much is coming.
    async def endless() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(MAX_FILE_BYTES // 100_000 + 1):
            yield bytes(100_000)
        yield b"\r\n--b--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = await ada.http.post("/api/files", content=endless(), headers=kind)
    assert reply.json()["error"]["code"] == "too_large"
    # Several at once do not get past the quota either.
    replies = await asyncio.gather(
        *(
            ada.http.post("/api/files", files={"file": ("a", bytes([n]) * MAX_FILE_BYTES)})
            for n in range(4)
        )
    )
    assert sorted(reply.status_code for reply in replies) == [201, 201, 413, 413]
    [error, _] = [r.json()["error"] for r in replies if r.status_code == 413]
    assert error["code"] == "quota_exceeded"
    assert error["details"]["quota"] == QUOTA
    assert (await ada.call("files.usage"))["bytes"] == 2 * MAX_FILE_BYTES


@pytest.mark.parametrize(
    ("content_type", "body", "problem"),
    [
        ("application/json", b"{}", "multipart/form-data"),
        ("multipart/form-data", b"", "multipart/form-data"),
        (f"multipart/form-data; boundary={'x' * 300}", b"", "oundary"),
        ("multipart/form-data; boundary=b", b"", "breaks off"),
        ("multipart/form-data; boundary=b", b"no form at all", "cannot be read"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", "no file"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\n", "eader"),
    ],
)
async def test_a_body_that_is_no_form_with_a_file_is_refused(
    ada: Person, content_type: str, body: bytes, problem: str
) -> None:
    reply = await ada.http.post("/api/files", content=body, headers={"Content-Type": content_type})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_request"
    assert problem in reply.text


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "not-an-id"}, "id"),
        ({"memoryId": "1"}, "memoryId"),
        ({"nonsense": "1"}, "nonsense"),
        ({"id": "x" * 2000}, "id"),
    ],
)
async def test_a_wrong_field_is_named(ada: Person, fields: dict[str, str], named: str) -> None:
    error = await ada.upload(b"x", expected=400, **fields)
    assert named in error["message"]
    assert (await ada.call("files.usage"))["bytes"] == 0


async def test_who_is_not_signed_in_uploads_nothing(server: LocalServer, ada: Person) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            reply = await http.post("/api/files", files={"file": b"x"}, headers=headers)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "unauthorized"


async def test_a_client_that_vanishes_leaves_nothing_behind(
    server: LocalServer, ada: Person, records: asyncpg.Connection
) -> None:
    port = int(server.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /api/files HTTP/1.1\r\nHost: memo\r\nAuthorization: Bearer {ada.token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
        + bytes(5_000_000)
    )
    await writer.drain()
    query = "SELECT received FROM uploads"
    async with asyncio.timeout(PATIENCE):
        while not await records.fetchval(query):  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0)
        assert (await ada.call("files.usage"))["bytes"] > 4_000_000
        writer.close()
        while await records.fetchval("SELECT count(*) FROM uploads"):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert await ada.call("files.usage") == {"bytes": 0, "quota": QUOTA, "count": 0}


# Out


async def test_ranges_are_answered_as_http_has_them(ada: Person) -> None:
    content = os.urandom(5_000_000)
    file = await ada.upload(content, "a.bin")
    path, etag = f"/api/files/{file['id']}", f'"{file["sha256"]}"'

    async def get(**headers: str) -> httpx.Response:
        return await ada.http.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    whole = await get()
    assert whole.headers["etag"] == etag
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=4194300-4194310", 4194300, 4194311),
        ("bytes=4999990-", 4999990, 5000000),
        ("bytes=-7", 4999993, 5000000),
        ("bytes=-99999999", 0, 5000000),
        ("bytes=10-99999999", 10, 5000000),
    ):
        part = await get(Range=asked)
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/5000000"
        assert part.content == content[start:end]
    for asked in ("bytes=5000000-", "bytes=-0"):
        refused = await get(Range=asked)
        assert refused.status_code == 416
        assert refused.headers["content-range"] == "bytes */5000000"
    for asked in ("bytes=5-3", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=-"):
        assert (await get(Range=asked)).status_code == 200
    assert (await get(Range="bytes=0-1", If_Range=etag)).status_code == 206
    assert (await get(Range="bytes=0-1", If_Range='"other"')).status_code == 200
    for known in (etag, f'"x", W/{etag}', "*"):
        same = await get(If_None_Match=known)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == etag
    head = await ada.http.head(path, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.headers["content-length"], head.content) == (206, "10", b"")
    empty = await ada.upload(b"")
    assert (await ada.http.get(f"/api/files/{empty['id']}")).content == b""
    reply = await ada.http.get(f"/api/files/{empty['id']}", headers={"Range": "bytes=0-"})
    assert reply.status_code == 416


async def test_nothing_that_is_uploaded_runs_on_this_site(ada: Person) -> None:
    for content, shown in (
        (photo(), "inline"),
        (b"%PDF-1.7\n", "inline"),
        (b"<html><script>alert(1)</script>", "attachment"),
        (b"<svg onload='alert(1)'/>", "attachment"),
        (b"words", "attachment"),
    ):
        file = await ada.upload(content, 'a "b"\r\nX: y;€.html')
        reply = await ada.http.get(f"/api/files/{file['id']}")
        assert reply.headers["content-disposition"] == (
            f'{shown}; filename="a _b_X_ y__.html"; '
            "filename*=UTF-8''a%20%22b%22X%3A%20y%3B%E2%82%AC.html"
        )
        assert reply.headers["content-type"].split(";")[0] == file["fileType"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in reply.headers["content-security-policy"]


async def test_only_the_owner_and_members_of_its_memory_see_a_file(
    ada: Person, bob: Person, records: asyncpg.Connection
) -> None:
    memory_id = await ada.memory()
    file = await ada.upload(b"for us", memoryId=memory_id)
    path = f"/api/files/{file['id']}"

    async def seen_by_bob() -> tuple[Any, ...]:
        reply = await bob.http.get(path)
        got = await bob.call("files.get", id=file["id"])
        listed = await bob.call("files.list", memoryId=memory_id)
        link = await bob.call("files.url", id=file["id"])
        return (
            reply.status_code,
            got if isinstance(got, str) else got["file"]["id"],
            listed if isinstance(listed, str) else len(listed["files"]),
            link if isinstance(link, str) else "link",
        )

    stranger = (404, "not_found", "not_found", "not_found")
    assert await seen_by_bob() == stranger
    assert (await bob.http.get(f"/api/files/{uuid4()}")).text == (await bob.http.get(path)).text
    bob_id = (await bob.call("account.me"))["user"]["id"]
    await records.execute(
        "INSERT INTO memberships (memory_id, user_id, role) VALUES ($1, $2, 'viewer')",
        UUID(memory_id),
        UUID(bob_id),
    )
    assert await seen_by_bob() == (200, file["id"], 1, "link")
    link = (await bob.call("files.url", id=file["id"]))["url"]
    assert await bob.call("files.delete", id=file["id"]) == "forbidden"
    assert await bob.call("files.update", id=file["id"], filename="mine") == "forbidden"
    error = await bob.upload(b"x", memoryId=memory_id, expected=403)
    assert error["details"] == {"memoryId": "you may not write in it"}
    mine = await bob.upload(b"x")
    assert await bob.call("files.update", id=mine["id"], memoryId=memory_id) == "forbidden"
    # What was shown is no longer, with the membership, or with the memory.
    await records.execute(
        "DELETE FROM memberships WHERE user_id = $1 AND role = 'viewer'", UUID(bob_id)
    )
    assert await seen_by_bob() == stranger
    async with httpx.AsyncClient(base_url=str(bob.http.base_url)) as anyone:
        assert (await anyone.get(link)).status_code == 404
    error = await bob.upload(b"x", memoryId=memory_id, expected=404)
    assert error["details"] == {"memoryId": "is none of your memories"}
    await ada.call("memories.delete", id=memory_id)
    assert (await ada.upload(b"x", memoryId=memory_id, expected=410))["code"] == "gone"
    assert (await ada.http.get(path)).content == b"for us"


async def test_members_are_told_of_a_file_from_the_upload_to_its_end(
    server: LocalServer, ada: Person, bob: Person, records: asyncpg.Connection
) -> None:
    memory_id = await ada.memory()
    bob_id = (await bob.call("account.me"))["user"]["id"]
    await records.execute(
        "INSERT INTO memberships (memory_id, user_id, role) VALUES ($1, $2, 'viewer')",
        UUID(memory_id),
        UUID(bob_id),
    )
    cursor = (await bob.call("feed.changes", limit=500))["cursor"]

    async def news() -> Any:
        """What the feed has of files once a hint has named the memory."""
        nonlocal cursor
        while True:
            hint = await bob.socket.take(frames.Event)
            if hint.name == "feed.changed" and hint.body == {"memoryId": memory_id}:
                changes = await bob.call("feed.changes", after=cursor, limit=500)
                cursor = changes["cursor"]
                if files := [item for item in changes["items"] if item["kind"] == "file"]:
                    return files

    async with Person(server) as eve:
        file = await ada.upload(photo(), "a.jpg", memoryId=memory_id)
        [item] = await news()
        assert (item["id"], item["file"]["filename"]) == (file["id"], "a.jpg")
        while not item["file"]["isProcessed"]:
            [item] = await news()
        assert item["file"]["hasThumbnail"]
        await ada.call("files.update", id=file["id"], filename="b.jpg")
        [item] = await news()
        assert item["file"]["filename"] == "b.jpg"
        await ada.call("files.delete", id=file["id"])
        assert await news() == [{"kind": "file", "id": file["id"], "deleted": True}]
        # Behind all of it a stranger has heard of nothing, and has nothing of it in the feed.
        await eve.memory()
        first = await eve.socket.take(frames.Event)
        assert first.body["memoryId"] != memory_id
        kinds = {each["kind"] for each in (await eve.call("feed.changes"))["items"]}
        assert "file" not in kinds


async def test_a_picture_of_somebody_is_seen_by_those_who_share_a_memory_with_them(
    ada: Person, bob: Person
) -> None:
    file_id = (await ada.upload(b"ada", "me.jpg"))["id"]
    other_id = (await ada.upload(b"secret"))["id"]
    await ada.call("account.update", avatarUrl=f"/api/files/{file_id}")
    assert await bob.call("files.url", id=file_id) == "not_found"
    memory_id = await ada.memory()
    link = await ada.call("sharing.link", memoryId=memory_id, role="viewer")
    await bob.call("sharing.accept", token=link["invitation"]["token"])
    url = (await bob.call("files.url", id=file_id))["url"]
    assert (await bob.http.get(url)).content == b"ada"
    assert (await bob.http.get(f"/api/files/{file_id}")).status_code == 200
    assert await bob.call("files.url", id=other_id) == "not_found"
    assert await bob.call("files.delete", id=file_id) == "not_found"
    assert await bob.call("files.update", id=file_id, filename="mine.jpg") == "not_found"
    await ada.call("memories.delete", id=memory_id)
    assert (await bob.http.get(url)).status_code == 404
    await ada.call("memories.restore", id=memory_id)
    assert (await bob.http.get(url)).status_code == 200
    await ada.call("account.update", avatarUrl=None)
    assert (await bob.http.get(url)).status_code == 404


async def test_a_link_shows_one_file_to_whoever_has_it(server: LocalServer, ada: Person) -> None:
    file, other = await ada.upload(photo(), "a.jpg"), await ada.upload(b"other")
    await processed(ada, file["id"])
    link = await ada.call("files.url", id=file["id"])
    small = await ada.call("files.url", id=file["id"], thumbnail=True)
    assert await ada.call("files.url", id=other["id"], thumbnail=True) == "not_found"
    async with httpx.AsyncClient(base_url=server.url) as anyone:
        assert (await anyone.get(link["url"])).content == photo()
        assert (await anyone.head(link["url"])).headers["content-length"] == str(len(photo()))
        thumbnail = await anyone.get(small["url"])
        assert thumbnail.headers["content-type"] == "image/webp"
        query, small_query = urlsplit(link["url"]).query, urlsplit(small["url"]).query
        moment, account, signature = query.removeprefix("token=").split(".")
        for path in (
            f"/api/files/{other['id']}?{query}",
            f"/api/files/{file['id']}/thumbnail?{query}",
            f"/api/files/{file['id']}?{small_query}",
            f"/api/files/{file['id']}?token={int(moment) + 1}.{account}.{signature}",
            f"/api/files/{file['id']}?token={moment}.{uuid4().hex}.{signature}",
            f"/api/files/{file['id']}?token={moment}.{account}.{'A' * 43}",
            f"/api/files/{file['id']}?token=",
            f"/api/files/{file['id']}?token=%00é",
        ):
            reply = await anyone.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized"), path
        assert (await anyone.get(f"/api/files/{file['id']}")).status_code == 401
        assert (
            await anyone.get("/api/files/nonsense", headers=ada.http.headers)
        ).status_code == 404


# Pictures


async def test_a_picture_gets_its_size_and_a_thumbnail_without_its_secrets(ada: Person) -> None:
    file = await ada.upload(photo(), "a.jpg")
    assert file["isProcessed"] is False
    file = await processed(ada, file["id"])
    assert file["hasThumbnail"] is True
    assert file["metadata"] == {"width": 600, "height": 900}  # as it is seen
    reply = await ada.http.get(f"/api/files/{file['id']}/thumbnail")
    thumbnail = Image.open(io.BytesIO(reply.content))
    assert thumbnail.size == (341, 512)
    assert not thumbnail.getexif()
    assert b"Secret" not in reply.content
    same = await ada.http.get(
        f"/api/files/{file['id']}/thumbnail", headers={"If-None-Match": reply.headers["etag"]}
    )
    assert same.status_code == 304
    # The same bytes again need not be looked at again.
    again = await ada.upload(photo(), "b.jpg")
    assert again["isProcessed"] is True
    assert again["metadata"] == file["metadata"]


async def test_a_bad_picture_costs_a_word_and_nothing_else(ada: Person) -> None:
    broken = await ada.upload(photo()[:300], "broken.jpg")
    strange = await ada.upload(b"GIF89a" + os.urandom(200), "strange.gif")
    for sent in (broken, strange):
        file = await processed(ada, sent["id"])
        assert file["hasThumbnail"] is False
        assert "image" in file["metadata"]["error"]
        reply = await ada.http.get(f"/api/files/{file['id']}/thumbnail")
        assert reply.json()["error"]["code"] == "not_found"
    good = await ada.upload(photo((40, 30)), "good.jpg")
    assert (await processed(ada, good["id"]))["hasThumbnail"] is True


# Operations


async def test_files_are_renamed_moved_listed_and_deleted(ada: Person) -> None:
    memory_id, other_id = await ada.memory(), await ada.memory()
    file = await ada.upload(b"a", memoryId=memory_id, messageId=str(uuid4()))
    assert file["memoryId"] == memory_id
    renamed = await ada.call("files.update", id=file["id"], filename="new/name .txt ")
    assert renamed["file"] == file | {"filename": "name .txt"}
    moved = (await ada.call("files.update", id=file["id"], memoryId=other_id))["file"]
    assert (moved["memoryId"], moved["messageId"]) == (other_id, None)
    newer = await ada.upload(b"b")
    page = await ada.call("files.list", limit=1)
    assert [item["id"] for item in page["files"]] == [newer["id"]]
    assert page["pagination"] == {"page": 1, "limit": 1, "total": 2, "totalPages": 2}
    page = await ada.call("files.list", limit=1, page=2)
    assert [item["id"] for item in page["files"]] == [file["id"]]
    assert (await ada.call("files.list", memoryId=memory_id))["files"] == []
    assert len((await ada.call("files.list", memoryId=other_id))["files"]) == 1
    assert await ada.call("files.list", memoryId=str(uuid4())) == "not_found"
    assert await ada.call("files.update", id=file["id"], memoryId=str(uuid4())) == "not_found"
    apart = (await ada.call("files.update", id=file["id"], memoryId=None))["file"]
    assert apart["memoryId"] is None
    cursor = (await ada.call("feed.changes"))["cursor"]
    deleted = await ada.call("files.delete", id=file["id"])
    changed = (await ada.call("feed.changes", after=cursor))["items"]
    assert changed == [{"kind": "file", "id": file["id"], "deleted": True}]
    assert await ada.call("files.delete", id=file["id"]) == deleted
    assert await ada.call("files.get", id=file["id"]) == "not_found"
    assert await ada.call("files.delete", id=str(uuid4())) == "not_found"
    assert (await ada.upload(b"a", id=file["id"], expected=410))["code"] == "gone"
    assert (await ada.http.get(f"/api/files/{file['id']}")).status_code == 404


async def test_strangers_do_not_learn_that_a_file_exists(ada: Person, bob: Person) -> None:
    file = await ada.upload(b"mine")
    for operation, more in (
        ("files.get", {}),
        ("files.url", {}),
        ("files.update", {"filename": "x"}),
        ("files.delete", {}),
    ):
        there = await bob.socket.call(operation, {"id": file["id"], **more})
        nowhere = await bob.socket.call(operation, {"id": str(uuid4()), **more})
        assert isinstance(there, frames.Error)
        assert isinstance(nowhere, frames.Error)
        assert there.body == nowhere.body


# Other origins


async def test_pages_of_the_app_s_own_origin_may_upload_and_read(ada: Person) -> None:
    origin = {"Origin": "https://app.example.com"}
    preflight = await ada.http.options(
        "/api/uploads/x",
        headers=origin
        | {
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "tus-resumable,upload-offset,authorization",
        },
    )
    assert preflight.status_code == 200
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    file = await ada.upload(b"x")
    reply = await ada.http.get(f"/api/files/{file['id']}", headers=origin)
    exposed = reply.headers["access-control-expose-headers"].lower()
    assert {"etag", "content-disposition", "upload-offset", "location"} <= set(exposed.split(", "))
