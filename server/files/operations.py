"""The operations on files."""

from protocol.errors import ErrorCode, MemoError
from protocol.files import (
    CreateFileUrl,
    DeletedFile,
    DeleteFile,
    FilePage,
    FileUrl,
    FileUsage,
    GetFile,
    ListFiles,
    OneFile,
    UpdateFile,
)
from protocol.records import Empty, timestamp_of
from server.files.links import Links
from server.files.names import cleaned
from storage.files import FileRows
from sync.feed import Notices
from sync.interfaces import Caller


class Files:
    """Binds `files.*`."""

    def __init__(self, rows: FileRows, links: Links, notices: Notices) -> None:
        self._rows = rows
        self._links = links
        self._notices = notices

    async def list(self, caller: Caller, request: ListFiles) -> FilePage:
        """Raises:
        MemoError: `not_found`, `gone`: the memory.
        """
        return await self._rows.list(caller.author.account_id, request)

    async def get(self, caller: Caller, request: GetFile) -> OneFile:
        """Raises:
        MemoError: `not_found`.
        """
        return OneFile(file=await self._rows.get(request.id, caller.author.account_id))

    async def update(self, caller: Caller, request: UpdateFile) -> OneFile:
        """Raises:
        MemoError: `not_found`, `forbidden`, `gone`.
        """
        account_id = caller.author.account_id
        filename = request.filename
        updated = await self._rows.update(
            request.id,
            account_id,
            filename=cleaned(filename) if isinstance(filename, str) else filename,
            memory_id=request.memory_id,
        )
        self._notices.files_changed(updated.told)
        return OneFile(file=updated.file)

    async def delete(self, caller: Caller, request: DeleteFile) -> DeletedFile:
        """Raises:
        MemoError: `not_found`, `forbidden`.
        """
        deleted = await self._rows.delete(request.id, caller.author.account_id)
        self._notices.files_changed(deleted.told)
        return DeletedFile(id=request.id, deleted_at=deleted.at)

    async def url(self, caller: Caller, request: CreateFileUrl) -> FileUrl:
        """Raises:
        MemoError: `not_found`, also when there is no thumbnail.
        """
        account_id = caller.author.account_id
        file = await self._rows.get(request.id, account_id)
        if request.thumbnail and not file.has_thumbnail:
            raise MemoError(
                ErrorCode.NOT_FOUND,
                "this file has no thumbnail, or none yet",
                details={"thumbnail": "there is none"},
            )
        url, expires_at = await self._links.make(
            file.id, "/thumbnail" if request.thumbnail else "", account_id
        )
        return FileUrl(url=url, expires_at=timestamp_of(expires_at))

    async def usage(self, caller: Caller, request: Empty) -> FileUsage:  # noqa: ARG002
        return await self._rows.usage(caller.author.account_id)
