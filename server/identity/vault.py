"""The vault: secrets as they are kept at rest, encrypted when ENCRYPTION_KEY is set."""

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_BYTES = 8
_PLAIN, _SEALED = b"\0", b"\1"


class VaultError(Exception):
    """What is kept cannot be read with the keys that are set; the message says why."""


class Vault:
    """Seals with the first key (AES-256-GCM), opens with any of them.

    What is sealed begins with the id of its key, so keys can change: put a new one in front, and
    take the old one away when nothing is sealed with it any more. Without keys nothing is
    encrypted, and what was kept so stays readable when keys are set later.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._current = _key_id(keys[0]) if keys else None

    @property
    def encrypts(self) -> bool:
        """Whether what is sealed now is encrypted."""
        return self._current is not None

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """`secret` as it is to be kept. It opens for the same `purpose` alone: sealed bytes that
        are moved to another row stay shut."""
        if self._current is None:
            return _PLAIN + secret
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, secret, purpose)
        return _SEALED + self._current + nonce + sealed

    def open(self, kept: bytes, purpose: bytes) -> bytes:
        """The secret.

        Raises:
            VaultError: its key is not set, or the bytes were changed or moved.
        """
        if kept[:1] == _PLAIN:
            return kept[1:]
        body = memoryview(kept)[1:]
        cipher = self._ciphers.get(bytes(body[:_ID_BYTES]))
        if kept[:1] != _SEALED or cipher is None:
            raise VaultError("a secret is encrypted with a key that ENCRYPTION_KEY does not hold")
        nonce, sealed = body[_ID_BYTES:][:_NONCE_BYTES], body[_ID_BYTES + _NONCE_BYTES :]
        try:
            return cipher.decrypt(bytes(nonce), bytes(sealed), purpose)
        except InvalidTag:
            raise VaultError("an encrypted secret was changed") from None

    def outdated(self, kept: bytes) -> bool:
        """Whether it would be sealed with another key now."""
        return kept[:1] != (_SEALED if self.encrypts else _PLAIN) or (
            self._current is not None and kept[1 : 1 + _ID_BYTES] != self._current
        )


def _key_id(key: bytes) -> bytes:
    # Tells keys apart and says nothing of them.
    return hashlib.sha256(b"memo key id" + key).digest()[:_ID_BYTES]
