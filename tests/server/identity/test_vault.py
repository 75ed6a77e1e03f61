"""Secrets at rest: what is sealed opens for its purpose alone, and keys can change."""

import secrets

import pytest

from server.identity.vault import Vault, VaultError

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


def test_what_is_sealed_does_not_hold_the_secret_and_opens_again() -> None:
    vault = Vault([OLD])
    kept = vault.seal(b"a secret", b"purpose")
    assert b"a secret" not in kept
    assert kept != vault.seal(b"a secret", b"purpose")
    assert vault.open(kept, b"purpose") == b"a secret"


def test_it_opens_neither_for_another_purpose_nor_changed() -> None:
    vault = Vault([OLD])
    kept = vault.seal(b"a secret", b"of ada")
    with pytest.raises(VaultError):
        vault.open(kept, b"of grace")
    for position in range(len(kept)):
        changed = bytearray(kept)
        changed[position] ^= 2
        with pytest.raises(VaultError):
            vault.open(bytes(changed), b"of ada")


def test_keys_change_by_putting_a_new_one_in_front() -> None:
    kept = Vault([OLD]).seal(b"a secret", b"")
    both = Vault([NEW, OLD])
    assert both.open(kept, b"") == b"a secret"
    assert both.outdated(kept)
    renewed = both.seal(b"a secret", b"")
    assert not both.outdated(renewed)
    assert Vault([NEW]).open(renewed, b"") == b"a secret"
    with pytest.raises(VaultError, match="ENCRYPTION_KEY does not hold"):
        Vault([NEW]).open(kept, b"")


def test_what_was_kept_without_a_key_stays_readable_when_one_is_set() -> None:
    bare = Vault()
    kept = bare.seal(b"a secret", b"")
    assert not bare.encrypts
    assert not bare.outdated(kept)
    vault = Vault([NEW])
    assert vault.encrypts
    assert vault.open(kept, b"") == b"a secret"
    assert vault.outdated(kept)
    with pytest.raises(VaultError):
        bare.open(vault.seal(b"a secret", b""), b"")


@pytest.mark.parametrize("kept", [b"", b"\1", b"\1short", b"\2" + bytes(60)])
def test_bytes_of_any_other_kind_are_refused(kept: bytes) -> None:
    with pytest.raises(VaultError):
        Vault([OLD]).open(kept, b"")


def test_a_key_of_another_size_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Vault([b"short"])
