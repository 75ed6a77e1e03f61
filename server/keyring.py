"""The installation's signing keys: in the database, sealed where ENCRYPTION_KEY is set."""

import base64
from collections.abc import Sequence
from datetime import timedelta

import structlog

from protocol.errors import ErrorCode, MemoError
from server.config import ConfigError
from server.identity.vault import Vault, VaultError
from server.tokens import generate_key
from storage.keys import SigningKey, SigningKeys

_SEALED = "sealed:"  # in front of what is kept sealed; else it is a PEM

log = structlog.get_logger(__name__)


class Keyring:
    """Opens what `rows` keep, and has them keep it sealed by the `vault`."""

    def __init__(self, rows: SigningKeys, vault: Vault) -> None:
        self._rows = rows
        self._vault = vault
        self._opened: dict[str, SigningKey] = {}

    async def ensure(self) -> Sequence[SigningKey]:
        """The keys that are not retired, newest first, and at least one. Those that were kept in
        the clear are sealed from now on.

        Raises:
            ConfigError: one cannot be opened.
        """
        if self._vault.encrypts:
            await self._rows.rewrite(self._sealed_if_clear)
        kept = await self._rows.ensure(lambda: self._sealed(generate_key()))
        try:
            return [self._open(key) for key in kept]
        except VaultError:
            raise ConfigError(
                "a signing key is encrypted with a key that ENCRYPTION_KEY does not hold: set that"
                " one too, or have another one sign by `memo rotate-keys --leaked`"
            ) from None

    async def current(self) -> Sequence[SigningKey]:
        """The same, of those that can be opened, while the server runs: another node may have
        been given an ENCRYPTION_KEY that this one gets with its next start.

        Raises:
            MemoError: `unavailable` when there is none.
        """
        keys = []
        for kept in await self._rows.current():
            try:
                keys.append(self._opened.get(kept.id) or self._open(kept))
            except VaultError as error:
                log.warning("signing_key.unreadable", key=kept.id, error=str(error))
        if not keys:
            raise MemoError(ErrorCode.UNAVAILABLE, "no signing key can be read")
        return keys

    async def rotate(self, keep: timedelta) -> int:
        """Sign with a new key from now on, and retire those that were replaced `keep` ago or more.
        All are sealed by the ENCRYPTION_KEY in front. Returns how many are not retired."""
        await self._rows.ensure(lambda: self._sealed(generate_key()))
        await self._rows.rotate(self._sealed(generate_key()), keep)
        await self._rows.rewrite(self._sealed_anew)
        return len(await self._rows.current())

    def _open(self, kept: SigningKey) -> SigningKey:
        if kept.private_pem.startswith(_SEALED):
            pem = self._vault.open(_bytes(kept), _purpose(kept)).decode()
            kept = SigningKey(kept.id, pem)
        self._opened[kept.id] = kept
        return kept

    def _sealed(self, key: SigningKey) -> SigningKey:
        if not self._vault.encrypts:
            return key
        sealed = self._vault.seal(key.private_pem.encode(), _purpose(key))
        return SigningKey(key.id, _SEALED + base64.b64encode(sealed).decode())

    def _sealed_if_clear(self, kept: SigningKey) -> SigningKey:
        return kept if kept.private_pem.startswith(_SEALED) else self._sealed(kept)

    def _sealed_anew(self, kept: SigningKey) -> SigningKey:
        if kept.private_pem.startswith(_SEALED) and not self._vault.outdated(_bytes(kept)):
            return kept
        try:
            return self._sealed(self._open(kept))
        except VaultError:
            return kept  # it is of no use any more, and harms nobody


def _bytes(kept: SigningKey) -> bytes:
    return base64.b64decode(kept.private_pem.removeprefix(_SEALED))


def _purpose(key: SigningKey) -> bytes:
    return f"signing key {key.id}".encode()
