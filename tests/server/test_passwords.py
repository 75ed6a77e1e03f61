"""The rule for passwords, and their hashing in bounded threads."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Literal

import pytest
from argon2 import PasswordHasher

from protocol.errors import ErrorCode, MemoError
from server.passwords import Passwords, weakness

GOOD = "TestPassword123!"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class GatedHasher(PasswordHasher):
    """Hashes nothing before its gate opens, so that a queue can be filled."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.gate = threading.Event()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        assert self.gate.wait(20)
        return super().hash(password, salt=salt)


class RecordingHasher(PasswordHasher):
    """Notes what it is asked to do, and in which thread."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.calls: list[tuple[str, str]] = []

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.calls.append(("hash", threading.current_thread().name))
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
        self.calls.append(("verify", threading.current_thread().name))
        return super().verify(hash, password)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(QUICK)
    yield passwords
    passwords.close()


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "Aa1@5678",
        "Ünïcode-Paßwort-1!",  # more characters than the plan's expression lists
        "with spaces Too 1 &",
        "Aa1!" + "x" * 1020,
    ],
)
def test_a_password_with_all_its_parts_is_good_enough(password: str) -> None:
    assert weakness(password) is None


@pytest.mark.parametrize(
    ("password", "named"),
    [
        ("Aa1!567", "8 characters"),
        ("TESTPASSWORD123!", "a lower-case letter"),
        ("testpassword123!", "an upper-case letter"),
        ("TestPassword!!!!", "a digit"),
        ("TestPassword1234", "one of @$!%*?&"),
        ("TestPassword12#^", "one of @$!%*?&"),
        ("Aa1!" + "x" * 1021, "at most 1024 bytes"),
        ("Aa1!" + "é" * 511, "at most 1024 bytes"),
    ],
)
def test_a_weak_password_is_told_the_one_thing_it_lacks(password: str, named: str) -> None:
    lack = weakness(password)
    assert lack is not None
    assert named in lack
    assert lack.count(",") == 0


def test_an_empty_password_is_told_everything_it_lacks() -> None:
    lack = weakness("")
    assert lack is not None
    assert lack.count(",") == 4


async def test_a_password_matches_its_own_hash_only(passwords: Passwords) -> None:
    kept = await passwords.hash(GOOD)
    assert kept.startswith("$argon2id$")
    assert GOOD not in kept
    assert await passwords.verify(GOOD, kept)
    assert not await passwords.verify(GOOD + " ", kept)
    assert not await passwords.verify(GOOD.lower(), kept)


async def test_an_accent_may_be_composed_or_not(passwords: Passwords) -> None:
    kept = await passwords.hash("Caf\u00e9-Pass1!")
    assert await passwords.verify("Cafe\u0301-Pass1!", kept)


@pytest.mark.parametrize("kept", ["", "!", "$2b$12$bcrypt"])
async def test_what_is_not_a_hash_matches_nothing(passwords: Passwords, kept: str) -> None:
    assert not await passwords.verify(GOOD, kept)


async def test_without_a_hash_the_same_work_is_done_and_the_answer_is_no() -> None:
    hasher = RecordingHasher()
    passwords = Passwords(hasher)
    assert not await passwords.verify(GOOD, None)
    assert [call for call, _ in hasher.calls] == ["hash"]
    passwords.close()


async def test_hashing_stays_off_the_event_loop() -> None:
    hasher = RecordingHasher()
    passwords = Passwords(hasher)
    await passwords.verify(GOOD, await passwords.hash(GOOD))
    assert [call for call, _ in hasher.calls] == ["hash", "verify"]
    assert all(thread.startswith("passwords") for _, thread in hasher.calls)
    passwords.close()


async def test_a_hash_of_other_parameters_is_outdated(passwords: Passwords) -> None:
    assert not passwords.outdated(await passwords.hash(GOOD))
    assert passwords.outdated(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(GOOD))


async def test_when_too_many_wait_the_next_is_told_to_come_back() -> None:
    hasher = GatedHasher()
    passwords = Passwords(hasher, threads=2, waiting=3)
    async with asyncio.TaskGroup() as tasks:
        accepted = [tasks.create_task(passwords.hash(GOOD)) for _ in range(5)]
        refused = tasks.create_task(_refusal(passwords))
        error = await refused
        assert error.code is ErrorCode.BUSY
        assert error.retry_after == 2
        hasher.gate.set()
    assert all(task.result().startswith("$argon2id$") for task in accepted)
    # What was waiting has made room again.
    assert (await passwords.hash(GOOD)).startswith("$argon2id$")
    passwords.close()


async def test_a_turn_that_does_not_come_is_a_timeout() -> None:
    hasher = GatedHasher()
    passwords = Passwords(hasher, threads=1, timeout=0.05)
    assert (await _refusal(passwords)).code is ErrorCode.TIMEOUT
    hasher.gate.set()
    passwords.close()


async def _refusal(passwords: Passwords) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await passwords.hash(GOOD)
    return refused.value
