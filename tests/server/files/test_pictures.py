"""Pictures of every kind, the broken and the hostile ones too."""

import io
import struct
import zlib
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from server.files.pictures import MAX_PIXELS, Picture, look
from sync.worker import WorkerPool


@pytest.fixture
async def workers() -> AsyncIterator[WorkerPool]:
    # As the server has them: what limits the process may not limit the tests'.
    workers = WorkerPool(size=1, timeout=30)
    yield workers
    workers.close()


def drawn(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 32)) -> bytes:
    output = io.BytesIO()
    Image.new(mode, size).save(output, kind)
    return output.getvalue()


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG that says to be of this size, whatever is in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


async def test_pictures_of_all_kinds_get_a_thumbnail(workers: WorkerPool) -> None:
    for kind, mode in (
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("PNG", "1"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
        ("AVIF", "RGB"),
    ):
        picture = await workers.run(look, drawn(kind, mode))
        assert (picture.width, picture.height, picture.error) == (64, 32, None), (kind, mode)
        assert picture.thumbnail is not None
        small = Image.open(io.BytesIO(picture.thumbnail))
        assert (small.format, small.size) == ("WEBP", (64, 32))
    large = await workers.run(look, drawn("PNG", "L", (3000, 1000)))
    assert Image.open(io.BytesIO(large.thumbnail or b"")).size == (512, 171)
    line = await workers.run(look, drawn("PNG", "L", (60_000, 1)))
    assert Image.open(io.BytesIO(line.thumbnail or b"")).size == (512, 1)


async def test_what_is_broken_or_a_bomb_is_told_in_a_word(workers: WorkerPool) -> None:
    whole = drawn("PNG", "RGB", (300, 300))
    bomb = zlib.compress(bytes(50_000_000), 9)
    for data, reason in (
        (b"", "cannot be read"),
        (b"no picture", "cannot be read"),
        (drawn("PPM"), "cannot be read"),
        (whole[: len(whole) // 2], "broken"),
        (png(20_000, 20_000, bomb), f"more than {MAX_PIXELS} pixels"),
        (png(2**31 - 1, 2**31 - 1, bomb), "pixels"),
        (png(100, 100, zlib.compress(b"too little")), "broken"),
        (png(0, 0, b""), "image"),
    ):
        picture = await workers.run(look, data)
        assert picture.thumbnail is None
        assert reason in (picture.error or ""), (reason, picture)
    assert isinstance(await workers.run(look, drawn("PNG")), Picture)
