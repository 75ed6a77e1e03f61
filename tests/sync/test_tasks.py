"""Tasks: each has an owner, and an error in one is told."""

import asyncio

from sync.tasks import Tasks


async def test_an_error_is_reported_and_a_result_is_not() -> None:
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)

    async def fail() -> None:
        raise ValueError("so it is")

    async def succeed() -> None:
        pass

    running = [tasks.start(fail()), tasks.start(succeed())]
    assert len(tasks) == 2
    await asyncio.wait(running)
    await asyncio.sleep(0)
    assert [str(failure) for failure in failures] == ["so it is"]
    assert len(tasks) == 0


async def test_cancelling_ends_them_and_waits_until_they_have_cleaned_up() -> None:
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("started")
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    tasks.start(work())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert steps == ["started", "cleaned up"]
    assert failures == []
    assert len(tasks) == 0


async def test_one_that_will_not_end_is_not_waited_for_for_ever() -> None:
    tasks = Tasks(lambda error: None)
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.start(stubborn())
    await asyncio.sleep(0)
    await tasks.cancel(timeout=0.01)
    assert not task.done()
    released.set()
    await task


async def test_cancelling_none_is_no_error() -> None:
    await Tasks(lambda error: None).cancel()
