"""Where archives are brought."""

from pathlib import Path

import asyncpg
import pytest

from protocol.log import Author
from server.files.processing import Processing
from server.files.uploads import Uploads
from server.metrics import Metrics
from server.takeout.bringing import Places
from storage.blobs import Blobs
from storage.categories import CategoryRows
from storage.files import FileRows
from storage.imports import ImportRows
from storage.memories import MemoryRows
from storage.uploads import UploadRows
from sync.broker import LocalBroker
from sync.feed import Notices
from tests.rows import add_person
from tests.server.takeout.archives import Here

QUOTA = 10_000


@pytest.fixture
def blobs(data_directory: Path) -> Blobs:
    return Blobs.at((data_directory / "blobs").as_uri())


@pytest.fixture
async def places(pool: asyncpg.Pool, blobs: Blobs) -> Places:
    workers = Here(size=1)
    notices, metrics = Notices(LocalBroker()), Metrics()
    processing = Processing(FileRows(pool, QUOTA), blobs, workers, notices, metrics)
    uploads = Uploads(UploadRows(pool, QUOTA), blobs, processing, notices, metrics, max_bytes=5_000)
    return Places(CategoryRows(pool), MemoryRows(pool, 3600.0), ImportRows(pool), uploads, workers)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool, None)
