"""What the JSON of an archive says: read in a worker process, and handed over in parts that an
event loop takes in at once. Whoever made the archive may have written it for harm."""

from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, UTC, datetime
from hashlib import blake2b
from typing import Annotated, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from protocol.categories import MAX_CATEGORIES, Color, Description, Icon, Name
from protocol.versions import MadeKind
from server.takeout.packing import FORMAT, MANIFEST, VERSION
from server.takeout.sources import ArchiveError, Digest, EntryError

MAX_VERSIONS = 1000  # of one memory
MAX_FILES = 10_000  # of one memory
MAX_SIGNED = 100_000  # messages of one memory that name the account as their author, Yjs clients
FILES_AT_ONCE = 1000

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_BYTES, _SIZE_BYTES, _SHA_BYTES = 16, 8, 32
_DIGEST_BYTES = _KEY_BYTES + _SIZE_BYTES + _SHA_BYTES

T = TypeVar("T")


class _Entry(msgspec.Struct, frozen=True):
    path: str
    size: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    format: str
    version: int
    account_id: UUID
    entries: list[_Entry]


class Category(msgspec.Struct, frozen=True):
    """A category of the archive's account."""

    name: Name
    description: Description | None = None
    icon: Icon | None = None
    color: Color | None = None


class Memory(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a memory beside its document."""

    id: UUID
    role: str
    created_at: datetime
    updated_at: datetime
    is_favorite: bool = False
    is_archived: bool = False


class File(msgspec.Struct, frozen=True, rename="camel"):
    """A file, and where it is in its folder."""

    path: str
    id: UUID
    original_filename: str
    message_id: UUID | None = None


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """A version, and where it is in its folder."""

    path: str
    id: UUID
    kind: MadeKind
    changed_at: datetime
    created_at: datetime
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class _Message(msgspec.Struct, frozen=True, rename="camel"):
    id: UUID
    user_id: UUID | None = None


class _About(msgspec.Struct, frozen=True):
    memory: Memory
    category: Name | None = None
    messages: list[_Message] = []
    files: list[File] = []
    versions: list[Version] = []
    clients: dict[int, UUID | None] = {}


class _Files(msgspec.Struct, frozen=True):
    files: list[File] = []


class Digests:
    """What each entry of an archive should be, as bytes: there may be a hundred thousand."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def get(self, path: str) -> Digest | None:
        """What the entry at this path should be; None if the manifest does not name it."""
        wanted = _key(path)
        low, high = 0, len(self._packed) // _DIGEST_BYTES
        while low < high:
            middle = (low + high) // 2
            start = middle * _DIGEST_BYTES
            record = self._packed[start : start + _DIGEST_BYTES]
            key, rest = record[:_KEY_BYTES], record[_KEY_BYTES:]
            if key == wanted:
                return Digest(int.from_bytes(rest[:_SIZE_BYTES]), rest[_SIZE_BYTES:].hex())
            low, high = (middle + 1, high) if key < wanted else (low, middle)
        return None


class Manifest(NamedTuple):
    """Whose an archive is, and what is in it, as `Digests` have it."""

    account_id: UUID
    digests: bytes


class About(NamedTuple):
    """What is told of a memory. Of its messages and its Yjs clients these are the account's own
    that the archive is of; ids are 16 bytes each."""

    memory: Memory
    category: str | None
    own_messages: bytes
    own_clients: list[int]
    versions: list[Version]
    versions_left: int
    files_left: int


def manifest(content: bytes) -> Manifest:
    """Raises:
    ArchiveError: it is of no archive that can be read here.
    """
    try:
        told = _decoded(content, _Manifest)
    except EntryError as error:
        raise ArchiveError(f"{MANIFEST} {error}") from error
    if told.format != FORMAT:
        raise ArchiveError(f"it is no archive of this program: {MANIFEST} says otherwise")
    if told.version > VERSION:
        raise ArchiveError("it is of a later version of this program")
    digests = {
        _key(entry.path): entry.size.to_bytes(_SIZE_BYTES) + bytes.fromhex(entry.sha256)
        for entry in told.entries
    }
    return Manifest(told.account_id, b"".join(key + digests[key] for key in sorted(digests)))


def categories(content: bytes) -> tuple[list[Category], int]:
    """As many categories as an account may have, and how many more there are.

    Raises:
        EntryError: with the reason.
    """
    told = _decoded(content, list[Category])
    return told[:MAX_CATEGORIES], max(0, len(told) - MAX_CATEGORIES)


def about(content: bytes, account_id: UUID) -> About:
    """What is told of a memory, in an archive of this account.

    Raises:
        EntryError: with the reason.
    """
    told = _decoded(content, _About)
    messages = [each.id.bytes for each in told.messages if each.user_id == account_id]
    clients = [client for client, owner in told.clients.items() if owner == account_id]
    return About(
        told.memory,
        told.category,
        b"".join(messages[:MAX_SIGNED]),
        clients[:MAX_SIGNED],
        told.versions[:MAX_VERSIONS],
        max(0, len(told.versions) - MAX_VERSIONS),
        max(0, len(told.files) - MAX_FILES),
    )


def files(content: bytes, start: int, *, of_memory: bool) -> list[File]:
    """Some of the files that are told of, from this one on: of a memory, or the loose ones.

    Raises:
        EntryError: with the reason.
    """
    if of_memory:
        told = _decoded(content, _Files).files[:MAX_FILES]
    else:
        told = _decoded(content, list[File])
    return told[start : start + FILES_AT_ONCE]


def ids_of(packed: bytes, at_once: int) -> Iterator[Sequence[UUID]]:
    """The ids of 16 bytes each, so many at once."""
    step = 16 * at_once
    for start in range(0, len(packed), step):
        part = packed[start : start + step]
        yield [UUID(bytes=part[at : at + 16]) for at in range(0, len(part), 16)]


def plain(text: str) -> str:
    """The text as PostgreSQL stores it."""
    return text.replace("\x00", "\ufffd")


def reckoned(moment: datetime) -> datetime:
    """The moment, none before computers kept time: at the ends of the calendar few can reckon."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware if _FIRST.year < aware.year < MAXYEAR else _FIRST


def _key(path: str) -> bytes:
    return blake2b(path.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EntryError(f"is not what it should be: {error}") from error
