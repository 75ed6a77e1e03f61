"""Example bodies, made from the structs so that they always fit them."""

from collections.abc import Mapping
from typing import Any

from msgspec import inspect as mi

from protocol.schema.shapes import FrameShape, Struct, plain

_MEMORY = "0192f0c1-7a3e-7c4d-9b1a-5d2f8e6c4a10"
_USER = "0192e4b7-11d0-7f2a-8c3e-6a9b0d1e2f34"
_FILE = "0192f0c4-2b6d-7a91-8e35-1f7c9d0a4b62"
_MESSAGE = "0192f0c4-0b6d-7e15-8f42-1c9d3a7b5e60"
_INVITATION = "0192f0c4-02b6-7d31-8e57-9f3a6c1d2b80"
_CATEGORY = "0192e4b7-1203-7b61-a5d9-4c8e7f2a0b16"
_VERSION = "0192f3a8-2c47-7d9b-a1e6-7b0c4d5e8f21"
_EARLIER = "0192f2d1-90be-7a04-b3c8-1f6e5d4a9c72"
_CURSOR = "3f6c2a9d.184467"
_EMPTY_UPDATE = "AAA="

# What a field is called says what may stand in it. A name after a struct's is for that alone.
# An optional field is shown when its name is here.
_SAMPLES: Mapping[str, Any] = {
    "id": _MEMORY,
    "memoryId": _MEMORY,
    "userId": _USER,
    "User.id": _USER,
    "sessionId": "0192f0be-5c21-7d08-b6f4-2e7a9c1d3b58",
    "categoryId": _CATEGORY,
    "epoch": "5b0f9c1e-3d7a-4e62-8f14-9a6c2b7d0e35",
    "offset": 42,
    "OpenDocument.offset": 41,
    "channel": 3,
    "clientSeq": 7,
    "format": "yjs-v1",
    "updates": [_EMPTY_UPDATE],
    "snapshot": _EMPTY_UPDATE,
    "update": _EMPTY_UPDATE,
    "payload": _EMPTY_UPDATE,
    "canWrite": True,
    "File.id": _FILE,
    "GetFile.id": _FILE,
    "UpdateFile.id": _FILE,
    "DeleteFile.id": _FILE,
    "DeletedFile.id": _FILE,
    "CreateFileUrl.id": _FILE,
    "UploadForm.id": _FILE,
    "filename": "pastéis.jpg",
    "originalFilename": "DCIM/pastéis.jpg",
    "fileType": "image/jpeg",
    "fileSize": 2_345_678,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "hasThumbnail": True,
    "File.metadata": {"width": 4032, "height": 3024},
    "isProcessed": True,
    "thumbnail": True,
    "url": f"/api/files/{_FILE}/thumbnail?token=1769849100.{_USER.replace('-', '')}.c2lnbmF0dXJl",
    "bytes": 2_345_678,
    "quota": 5_000_000_000,
    "count": 1,
    "title": "Lisbon, day two",
    "description": "Before the flight home",
    "content": {"text": "Pastéis, then the tram."},
    "Message.content": "Which bakery was it?",
    "CreateMessage.content": "Which bakery was it?",
    "UpdateMessage.content": "Which bakery was that?",
    "Message.id": _MESSAGE,
    "CreateMessage.id": _MESSAGE,
    "UpdateMessage.id": _MESSAGE,
    "DeleteMessage.id": _MESSAGE,
    "DeletedMessage.id": _MESSAGE,
    "MarkRead.messageId": _MESSAGE,
    "messageType": "text",
    "Message.status": "sent",
    "lastReadAt": "2026-01-31T08:31:00.000Z",
    "tags": ["travel", "lisbon"],
    "metadata": {"source": "phone"},
    "Category.id": _CATEGORY,
    "Category.name": "Travel",
    "CreateCategory.id": _CATEGORY,
    "CreateCategory.name": "Travel",
    "UpdateCategory.id": _CATEGORY,
    "UpdateCategory.name": "Trips",
    "ReorderCategories.ids": [_CATEGORY, "0192e4b7-1203-7b61-a5d9-4c8e7f2a0b11"],
    "DeleteCategory.id": _CATEGORY,
    "DeletedCategory.id": _CATEGORY,
    "Category.description": None,
    "versionId": _VERSION,
    "Version.id": _VERSION,
    "Version.kind": "named",
    "Version.name": "Before the trip",
    "SaveVersion.id": _VERSION,
    "SaveVersion.name": "Before the trip",
    "RenameVersion.name": "Before the trip",
    "DeletedVersion.id": _VERSION,
    "RestoreVersion.id": "0192f4c0-6e15-7283-9d0f-3a8b7c6e5d14",
    "ListVersions.before": _EARLIER,
    "Version.excerpt": "Pastéis, then the tram.",
    "Version.authors": None,
    "VersionAuthor.devices": ["adas-phone"],
    "VersionAuthor.changes": 118,
    "Version.size": 2048,
    "Version.createdBy": None,
    "GetVersion.compareTo": "previous",
    "VersionContent.diff": None,
    "Comparison.older": _EARLIER,
    "Comparison.newer": _VERSION,
    "Comparison.truncated": False,
    "DiffPart.op": "insert",
    "DiffPart.text": ", then the tram",
    "FieldDiff.field": "text",
    "PastMessage.id": "0192f0c4-0b6d-7e15-8f42-1c9d3a7b5e60",
    "PastMessage.content": "Which bakery was it?",
    "PastMessage.messageType": "text",
    "PastMessage.metadata": None,
    "PastMessage.status": "sent",
    "BlameRun.text": "Pastéis, then the tram.",
    "icon": "plane",
    "color": "#06B6D4",
    "action": "categorize",
    "isFavorite": True,
    "privacyLevel": "private",
    "role": "owner",
    "User.role": "user",
    "memoryTitle": "Lisbon, day two",
    "inviterName": "Ada Lovelace",
    "invitationId": _INVITATION,
    "Invitation.id": _INVITATION,
    "ReceivedInvitation.id": _INVITATION,
    "CreateInvitationLink.id": _INVITATION,
    "InviteMember.id": _INVITATION,
    "Invitation.email": "grace@example.com",
    "InviteMember.email": "grace@example.com",
    "Invitation.status": "pending",
    "uses": 0,
    "kind": "memory",
    "memory": None,
    "search": "tram",
    "createdAfter": "2026-01-01T00:00:00Z",
    "query": "tram",
    "SearchQuery.offset": 0,
    "score": 0.071,
    "field": "content",
    "text": "Pastéis, then the tram.",
    "ranges": [[18, 22]],
    "took": 4.2,
    "page": 1,
    "limit": 20,
    "total": 1,
    "totalIsLowerBound": False,
    "totalPages": 1,
    "after": _CURSOR,
    "cursor": _CURSOR,
    "deletedAt": "2026-02-01T09:00:00.000Z",
    "purgedAt": "2026-03-03T09:00:00.000Z",
    "expiresAt": "2026-01-31T08:45:00.000Z",
    "token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2lnbmF0dXJl",
    "accessToken": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2lnbmF0dXJl",
    "refreshToken": "mV3rXq0cT8yJ2kZ5nB7wL4sD9fH1gA6pE0uR",
    "expiresIn": 900,
    "CreateDocumentToken.expiresIn": 86400,
    "permissions": ["read:memories", "write:memories", "delete:memories"],
    "email": "ada@example.com",
    "password": "Analytical-1843!",
    "username": "ada",
    "firstName": "Ada",
    "lastName": "Lovelace",
    "timezone": "Europe/Lisbon",
    "language": "en",
    "themePreference": "system",
    "isVerified": False,
    "isActive": True,
    "rememberMe": True,
    "device": "Firefox on Windows",
    "userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "address": "192.0.2.7",
    "UpdateAccount.phoneNumber": "+351912345678",
    "ListUsers.search": "ada",
    "SetUserRole.role": "premium",
    "EndSessions.id": "0192f0be-5c21-7d08-b6f4-2e7a9c1d3b58",
    "DeviceSession.id": "0192f0be-5c21-7d08-b6f4-2e7a9c1d3b58",
    "DeviceSession.current": True,
    "InstallationStats.updates": 20304,
    "keys": [{"kty": "RSA", "kid": "2026-01", "use": "sig", "alg": "RS256", "e": "AQAB"}],
    "status": "healthy",
    "Readiness.status": "ready",
    "version": "1.0.0",
    "uptime": 86400.5,
    "database": "healthy",
    "code": "invalid_request",
    "ConfirmTwoFactor.code": "492817",
    "DisableTwoFactor.code": "492817",
    "FinishOAuth.code": "4/0AX4XfWh2pQz9",
    "LinkIdentity.code": "4/0AX4XfWh2pQz9",
    "state": "Zp3xV8n1QwT6yK0cJ5rB2mE9uH4sL7dA",
    "redirectUri": "https://app.example.com/signed-in",
    "StartedOAuth.url": "https://accounts.google.com/o/oauth2/v2/auth?client_id=…",
    "provider": "google",
    "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    "uri": "otpauth://totp/Memory%20App:ada%40example.com?secret=JBSWY3DPEHPK3PXP…",
    "recoveryCodes": ["k3dm-7xq2-vb5n-p4wz"],
    "recoveryCodesLeft": 10,
    "currentPassword": "Analytical-1843!",
    "newPassword": "Difference-1822!",
    "VerifyEmail.token": "mV3rXq0cT8yJ2kZ5nB7wL4sD9fH1gA6pE0uR",
    "ResetPassword.token": "mV3rXq0cT8yJ2kZ5nB7wL4sD9fH1gA6pE0uR",
    "message": "`email` is not an e-mail address: write it as name@example.com",
    "details": {"email": "not an e-mail address: write it as name@example.com"},
    "deviceId": "adas-phone",
    "client": "memory-app-ios/1.4",
    "reason": "restart",
    "reconnectAfterMs": 1500,
}

# The example of an error is a refused request, which names no update; that of an opened document
# is one the device has seen before; a memory is not in the trash; a list of messages is the newest,
# and a change of one is of its text.
# is one the device has seen before; a memory is not in the trash. An invitation has an address or a
# token, not both.
_LEFT_OUT = frozenset(
    {
        "ErrorBody.channel",
        "Login.code",
        "ErrorBody.clientSeq",
        "OpenedDocument.snapshot",
        "ListMessages.after",
        "UpdateMessage.metadata",
        "UpdateMessage.status",
        "Invitation.token",
        "AcceptInvitation.token",
        "Memory.deletedAt",
        "CreateCategory.description",
        "UpdateCategory.description",
        "UpdateCategory.icon",
        "UpdateCategory.color",
    }
)


def example(struct: Struct) -> dict[str, Any]:
    """A body of `struct` as JSON has it: bytes are in base64."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    body: dict[str, Any] = {}
    for field in info.fields:
        name = field.encode_name
        special = f"{struct.__name__}.{name}"
        shown = field.required or name in _SAMPLES or special in _SAMPLES
        if shown and special not in _LEFT_OUT:
            body[name] = _value(field.type, _SAMPLES.get(special, _SAMPLES.get(name)))
    return body


def frame_example(shape: FrameShape) -> list[Any]:
    """A frame as JSON has it."""
    named = {"id": 7, "operation": "account.me", "name": "feed.changed"}
    items = (named.get(item.name, _SAMPLES.get(item.name)) for item in shape.items)
    return [
        shape.number,
        *(_value(item.type, sample) for item, sample in zip(shape.items, items, strict=True)),
    ]


def _value(kind: mi.Type, sample: Any) -> Any:
    if isinstance(kind, mi.Metadata) and sample is None:
        examples = (kind.extra_json_schema or {}).get("examples")
        if examples:
            return examples[0]
    kind = plain(kind)
    match kind:
        case mi.StructType():
            return example(kind.cls)
        case mi.UnionType():
            return _option(kind, sample)
        case mi.ListType() if sample is None:
            return [_value(kind.item_type, None)]
        case mi.LiteralType():
            return sample if sample in kind.values else kind.values[0]
    return sample if sample is not None else _PLAIN.get(type(kind))


def _option(kind: mi.UnionType, sample: Any) -> Any:
    """The sample, or the struct among the options, or null."""
    if sample is not None:
        return sample
    for option in kind.types:
        if isinstance(plain(option), mi.StructType):
            return _value(option, None)
    return None


_PLAIN: Mapping[type[mi.Type], Any] = {
    mi.BoolType: False,
    mi.IntType: 1,
    mi.FloatType: 1.0,
    mi.StrType: "text",
    mi.BytesType: _EMPTY_UPDATE,
    mi.UUIDType: _MEMORY,
    mi.DictType: {},
    mi.AnyType: {},
    mi.RawType: {},
}
