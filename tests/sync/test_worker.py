"""Worker processes: a call that crashes, hangs or is abandoned costs no other its answer."""

import asyncio
import os
import pickle
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from protocol.errors import ErrorCode, MemoError
from sync.update import MalformedUpdate, scan
from sync.worker import WorkerPool

SECONDS = 30.0


@pytest.fixture
async def workers() -> AsyncIterator[WorkerPool]:
    workers = WorkerPool(size=2)
    yield workers
    workers.close()


# What the workers are given: module-level functions, as it has to be.


def double(number: int) -> int:
    return 2 * number


def process_id() -> int:
    return os.getpid()


def crash() -> None:
    os.abort()


def wait_for(path: Path) -> int:
    """Busy until the file is there."""
    while not path.exists():
        time.sleep(0.005)
    return os.getpid()


def unsendable() -> object:
    return lambda: None


class Unsendable(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}", lambda: None)


def fail_unsendably() -> None:
    raise Unsendable(7)


def echo(data: bytes) -> bytes:
    return data


async def test_a_call_is_answered_by_another_process(workers: WorkerPool) -> None:
    assert await workers.run(double, 21) == 42
    assert await workers.run(process_id) != os.getpid()


async def test_what_a_call_raises_reaches_its_caller(workers: WorkerPool) -> None:
    with pytest.raises(MalformedUpdate, match="cut off"):
        await workers.run(scan, b"\x01")


async def test_an_error_says_where_in_the_worker_it_was_raised(workers: WorkerPool) -> None:
    with pytest.raises(MalformedUpdate) as raised:
        await workers.run(scan, b"\x01")
    assert "sync/update.py" in raised.value.__notes__[0]


async def test_large_calls_and_answers_pass_side_by_side(workers: WorkerPool) -> None:
    """Larger than any buffer on the way, several megabytes each."""
    large = [bytes([number]) * (5 << 20) for number in range(4)]
    assert await asyncio.gather(*(workers.run(echo, data) for data in large)) == large


async def test_what_cannot_be_sent_fails_its_call_and_not_the_worker() -> None:
    workers = WorkerPool(size=1)
    worker = await workers.run(process_id)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        await workers.run(lambda: 1)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        await workers.run(unsendable)
    with pytest.raises(RuntimeError, match=r"Unsendable: .*number 7"):
        await workers.run(fail_unsendably)
    assert await workers.run(process_id) == worker
    workers.close()


async def test_a_worker_killed_within_a_call_is_replaced_and_the_call_made_again(
    tmp_path: Path,
) -> None:
    workers = WorkerPool(size=1)
    victim = await workers.run(process_id)
    call = asyncio.create_task(workers.run(wait_for, tmp_path / "done"))
    await asyncio.sleep(0)
    os.kill(victim, 9)
    (tmp_path / "done").touch()
    assert await asyncio.wait_for(call, SECONDS) != victim
    workers.close()


async def test_a_call_that_crashes_fails_only_itself(workers: WorkerPool, tmp_path: Path) -> None:
    neighbour = asyncio.create_task(workers.run(wait_for, tmp_path / "done"))
    await workers.run(double, 1)  # so both workers run
    for _ in range(2):
        with pytest.raises(MemoError) as refused:
            await workers.run(crash)
        assert refused.value.code is ErrorCode.INTERNAL
    waiting = [asyncio.create_task(workers.run(double, number)) for number in range(10)]
    assert await asyncio.gather(*waiting) == [2 * number for number in range(10)]
    assert not neighbour.done()
    (tmp_path / "done").touch()
    assert await asyncio.wait_for(neighbour, SECONDS)


async def test_calls_that_wait_behind_a_crash_are_answered(workers: WorkerPool) -> None:
    calls = [
        workers.run(crash) if number % 4 == 0 else workers.run(double, number)
        for number in range(9)
    ]
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SECONDS)
    assert [isinstance(result, MemoError) for result in results] == [n % 4 == 0 for n in range(9)]
    assert [result for result in results if isinstance(result, int)] == [2, 4, 6, 10, 12, 14]


async def test_a_worker_that_died_while_idle_fails_nobody() -> None:
    workers = WorkerPool(size=1)
    victim = await workers.run(process_id)
    os.kill(victim, 9)
    assert await workers.run(process_id) != victim
    workers.close()


async def test_a_call_past_its_time_is_ended_with_its_process(tmp_path: Path) -> None:
    workers = WorkerPool(size=1, timeout=2)
    first = await workers.run(process_id)
    with pytest.raises(MemoError) as refused:
        await workers.run(wait_for, tmp_path / "never")
    assert refused.value.code is ErrorCode.TIMEOUT
    assert await workers.run(process_id) != first
    workers.close()


async def left(call: asyncio.Task[object]) -> None:
    """Its caller leaves."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_call_whose_caller_left_is_ended_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.worker.LEFT_SECONDS", 0.05)
    workers = WorkerPool(size=1, timeout=600)
    first = await workers.run(process_id)
    await left(asyncio.create_task(workers.run(wait_for, tmp_path / "never")))
    assert await asyncio.wait_for(workers.run(process_id), SECONDS) != first
    workers.close()


async def test_a_call_whose_caller_left_keeps_its_worker_if_it_ends_by_itself(
    tmp_path: Path,
) -> None:
    workers = WorkerPool(size=1)
    first = await workers.run(process_id)
    await left(asyncio.create_task(workers.run(wait_for, tmp_path / "done")))
    (tmp_path / "done").touch()
    assert await asyncio.wait_for(workers.run(process_id), SECONDS) == first
    workers.close()


def begun(path: Path) -> None:
    path.touch()


async def test_a_call_whose_caller_left_before_it_began_is_never_made(tmp_path: Path) -> None:
    workers = WorkerPool(size=1)
    blocking = asyncio.create_task(workers.run(wait_for, tmp_path / "done"))
    await asyncio.sleep(0)
    await left(asyncio.create_task(workers.run(begun, tmp_path / "begun")))
    (tmp_path / "done").touch()
    await asyncio.wait_for(blocking, SECONDS)
    await workers.run(double, 1)
    assert not (tmp_path / "begun").exists()
    workers.close()


async def test_no_account_has_all_workers(workers: WorkerPool, tmp_path: Path) -> None:
    ada, bob = uuid4(), uuid4()
    calls = [
        asyncio.create_task(workers.run_for(ada, wait_for, tmp_path / "done")) for _ in range(4)
    ]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(workers.run_for(bob, double, 4), SECONDS) == 8
    assert await asyncio.wait_for(workers.run(double, 5), SECONDS) == 10
    assert not any(call.done() for call in calls)
    (tmp_path / "done").touch()
    assert len(set(await asyncio.wait_for(asyncio.gather(*calls), SECONDS))) == 1
    assert not len(workers._shares)


async def test_who_leaves_and_calls_again_has_no_more_workers(
    workers: WorkerPool, tmp_path: Path
) -> None:
    """What was left is still its account's until it has ended."""
    ada = uuid4()
    for _ in range(4):
        await left(asyncio.create_task(workers.run_for(ada, wait_for, tmp_path / "done")))
    assert await asyncio.wait_for(workers.run(double, 5), SECONDS) == 10
    (tmp_path / "done").touch()
    assert await asyncio.wait_for(workers.run_for(ada, double, 6), SECONDS) == 12


def niceness() -> int:
    return os.nice(0)


async def test_workers_leave_the_processors_to_others_if_they_are_to() -> None:
    workers = WorkerPool(size=1, niceness=3)
    assert await workers.run(niceness) == os.nice(0) + 3
    workers.close()


async def test_a_bounded_number_of_calls_may_wait(tmp_path: Path) -> None:
    workers = WorkerPool(size=1, limit=3)
    calls = [asyncio.create_task(workers.run(wait_for, tmp_path / "done")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(MemoError) as refused:
        await workers.run(double, 1)
    assert refused.value.code is ErrorCode.BUSY
    assert refused.value.retry_after
    (tmp_path / "done").touch()
    assert len(set(await asyncio.gather(*calls))) == 1
    assert await workers.run(double, 1) == 2
    workers.close()


async def test_closing_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    workers = WorkerPool(size=1)
    calls = [asyncio.create_task(workers.run(wait_for, tmp_path / "never")) for _ in range(3)]
    await asyncio.sleep(0)
    workers.close()
    ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SECONDS)
    assert {type(end) for end in ended} == {asyncio.CancelledError}


async def test_closing_ends_the_processes() -> None:
    workers = WorkerPool(size=1)
    worker = psutil.Process(await workers.run(process_id))
    workers.close()
    assert not worker.is_running()


PARENT = """
import asyncio, os
from sync.worker import WorkerPool

async def main():
    print(await WorkerPool(size=1).run(os.getpid), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        worker.wait(SECONDS)
    assert not worker.is_running()
