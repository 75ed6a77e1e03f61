"""`memo export` and `memo import`, which an operator runs."""

from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from protocol.errors import MemoError
from protocol.log import Author, Entry
from server import cli
from server.config import Settings
from storage.accounts import Accounts
from storage.archive import BackupError
from storage.memories import MemoryRows
from sync.document import Edit, edit


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    user = await Accounts(pool).create(email="ada@example.com", password_hash=None)
    author = Author(user.id, None)
    payload, projection = edit([], Edit(title="Lisbon", text="Day one."), 7)
    assert payload is not None
    entry = Entry(uuid4(), author, payload, ((7, None),), projection)
    await MemoryRows(pool, 3600.0).create(
        entry, category_id=None, is_favorite=True, is_archived=False
    )
    return author


async def run(settings: Settings, *arguments: str) -> int:
    """The command, within this process."""
    options = cli._parser().parse_args(arguments)
    code: int = await options.command(settings, options)
    return code


async def test_an_account_moves_to_another_one(
    pool: asyncpg.Pool,
    database: str,
    ada: Author,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bob = await Accounts(pool).create(email="bob@example.com", password_hash=None)
    settings = Settings.read({"DATABASE_URL": database, "DATA_DIR": str(tmp_path / "data")})
    archive = tmp_path / "ada.zip"
    assert await run(settings, "export", "ADA@example.com", str(archive)) == 0
    assert capsys.readouterr().out.startswith(f"wrote {archive}: all of ada@example.com, ")
    assert [path.name for path in tmp_path.glob("ada*")] == ["ada.zip"]

    assert await run(settings, "import", "bob@example.com", str(archive)) == 0
    assert capsys.readouterr().out == (
        "imported 1 memories, 0 files and 0 versions into bob@example.com;"
        " 0 memories were there already\n"
    )
    rows = await pool.fetch(
        """
        SELECT m.user_id, m.title, m.content->>'text', s.is_favorite
        FROM memories m JOIN memberships s ON s.memory_id = m.id
        """
    )
    assert {tuple(row) for row in rows} == {
        (who, "Lisbon", "Day one.", True) for who in (ada.account_id, bob.id)
    }
    payloads = await pool.fetch("SELECT DISTINCT payload FROM document_updates")
    assert len(payloads) == 1

    with pytest.raises(BackupError, match=r"ada\.zip exists; name a new file"):
        await run(settings, "export", "ada@example.com", str(archive))
    with pytest.raises(MemoError, match="no account with the address eve@example"):
        await run(settings, "export", "eve@example.com", str(tmp_path / "eve.zip"))
    archive.write_bytes(b"nothing")
    with pytest.raises(BackupError, match=r"ada\.zip was not imported: it is no ZIP archive"):
        await run(settings, "import", "bob@example.com", str(archive))
